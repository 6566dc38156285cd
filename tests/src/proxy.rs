//! A TCP proxy before one server, whose link can be cut (connections are closed and none is made) or
//! stalled (nothing passes, in either direction, and nobody is told).
//!
//! Threads of its own, so that a busy runtime does not slow the link that it stands in for.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A proxy; it ends with its handle.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    link: Link,
    /// Both ends of every connection.
    open: Vec<TcpStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Whole,
    Cut,
    Stalled,
    Ended,
}

impl Proxy {
    /// A proxy before the server on this port of 127.0.0.1.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            link: Link::Whole,
            open: Vec::new(),
        };
        let shared = Arc::new(Shared {
            server,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { port, shared }
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.set(Link::Cut);
    }

    /// Holds everything back; connections stay open, new ones too.
    pub fn stall(&self) {
        self.set(Link::Stalled);
    }

    /// Lets everything pass again, and what was held back first.
    pub fn heal(&self) {
        self.set(Link::Whole);
    }

    fn set(&self, link: Link) {
        let mut state = self.shared.state.lock().unwrap();
        state.link = link;
        if matches!(link, Link::Cut | Link::Ended) {
            for end in state.open.drain(..) {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Link::Ended);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        let link = shared.state.lock().unwrap().link;
        match link {
            Link::Ended => return,
            Link::Cut => {}
            Link::Whole | Link::Stalled => {
                let _ = join(&client, shared);
            }
        }
    }
}

/// Connects a client with the server.
fn join(client: &TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", shared.server))?;
    for end in [client, &server] {
        end.set_nodelay(true)?;
        let end = end.try_clone()?;
        let mut state = shared.state.lock().unwrap();
        if matches!(state.link, Link::Cut | Link::Ended) {
            // Cut since it was accepted.
            return Ok(());
        }
        state.open.push(end);
    }
    let pairs = [
        (client.try_clone()?, server.try_clone()?),
        (server, client.try_clone()?),
    ];
    for (from, to) in pairs {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pass(from, to, &shared));
    }
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    while let Some(read) = from.read(&mut buffer).ok().filter(|read| *read > 0) {
        let state = shared.state.lock().unwrap();
        let stalled = |state: &mut State| state.link == Link::Stalled;
        let state = shared.changed.wait_while(state, stalled).unwrap();
        drop(state);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
