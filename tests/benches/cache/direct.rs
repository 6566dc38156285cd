//! The floor of the shared cache: Redis called straight, by the least of clients: one connection, one command at
//! a time.

use crate::messages::{BATCH, KEYS, Size};
use std::time::Instant;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use trellis_tests::bench::Result;
use trellis_tests::bench::rounds::{Done, now};

/// A connection to Redis, which holds plain values of both sizes.
pub struct Direct(Mutex<BufStream<TcpStream>>);

impl Direct {
    /// Connects to the Redis on this port and fills it.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        // Room for the largest answer, so that it is read in few pieces.
        let mut stream = BufStream::with_capacity(1 << 20, 1 << 16, stream);
        for size in Size::BOTH {
            let value = size.value();
            for key in KEYS.map(|number| plain(size, number)) {
                command(&mut stream, &[b"SET", key.as_bytes(), &value]).await?;
            }
        }
        Ok(Self(Mutex::new(stream)))
    }

    /// Reads one small value after the other.
    pub async fn gets(&self, deadline: Instant) -> Result<Done> {
        let mut stream = self.0.lock().await;
        let mut done = Done::default();
        for number in KEYS.cycle() {
            let key = plain(Size::Small, number);
            let sent = now();
            let read = command(&mut stream, &[b"GET", key.as_bytes()]).await?;
            check(read, Size::Small.bytes())?;
            let answered = now();
            done.add(answered - sent);
            if answered >= deadline {
                break;
            }
        }
        Ok(done)
    }

    /// Reads so many batches of large values.
    pub async fn batches(&self, count: usize) -> Result<Done> {
        let mut stream = self.0.lock().await;
        let mut numbers = KEYS.cycle();
        let mut done = Done::default();
        for _ in 0..count {
            let keys = numbers.by_ref().take(BATCH);
            let keys: Vec<_> = keys.map(|number| plain(Size::Large, number)).collect();
            let mut parts: Vec<&[u8]> = vec![b"MGET"];
            parts.extend(keys.iter().map(String::as_bytes));
            let sent = now();
            let read = command(&mut stream, &parts).await?;
            check(read, BATCH * Size::Large.bytes())?;
            done.add(now() - sent);
        }
        Ok(done)
    }
}

fn plain(size: Size, number: usize) -> String {
    format!("plain.{}", size.key(number))
}

fn check(read: usize, wanted: usize) -> Result<()> {
    if read == wanted {
        return Ok(());
    }
    Err(format!("Redis answers {read} bytes of values, not {wanted}").into())
}

/// Sends a command and reads its answer; returns the bytes of the values in it.
async fn command(stream: &mut BufStream<TcpStream>, parts: &[&[u8]]) -> Result<usize> {
    stream
        .write_all(format!("*{}\r\n", parts.len()).as_bytes())
        .await?;
    for part in parts {
        let head = format!("${}\r\n", part.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(part).await?;
        stream.write_all(b"\r\n").await?;
    }
    stream.flush().await?;
    let (mut values, mut bytes) = (1, 0);
    let (mut line, mut value) = (String::new(), Vec::new());
    while values > 0 {
        values -= 1;
        line.clear();
        stream.read_line(&mut line).await?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or("no answer")?;
        match kind {
            "+" => {}
            "*" => values += rest.parse::<usize>()?,
            "$" => {
                let length: usize = rest.parse().map_err(|_| "Redis has no such value")?;
                value.resize(length + 2, 0);
                stream.read_exact(&mut value).await?;
                bytes += length;
            }
            _ => return Err(format!("Redis answers {line:?}").into()),
        }
    }
    Ok(bytes)
}
