//! What happens between a read and its copy, and what a copy may be served for.

use super::*;
use bytes::Bytes;
use fred::types::client::Invalidation;
use fred::types::config::Server;
use tokio::sync::broadcast;
use trellis_core::Tag;
use trellis_core::cache::{Content, Cost, Version};

const SECOND: u64 = 1_000_000;

/// The store's clock when this daemon's shows 0.
const STORE: u64 = 1_800_000_000 * SECOND;

fn near() -> Near {
    let config = NearConfig {
        max_bytes: 1 << 20,
        max_entries: 1_000,
        max_staleness: Micros::from_secs(10),
    };
    Near::new(config, 2, "p:cache:".into()).unwrap()
}

fn namespace(name: &str) -> Namespace {
    Namespace::new(name, "namespace").unwrap()
}

fn key(name: &str) -> EntryKey {
    EntryKey::new(name, "key").unwrap()
}

/// Fresh for a minute.
fn entry(version: u64, size: usize) -> Arc<Entry> {
    Arc::new(Entry {
        content: Content::Value(Bytes::from(vec![0; size])),
        content_type: "".into(),
        cost: Cost::default(),
        version: Version(version),
        as_of: Version(version),
        written: Time(STORE),
        fresh_until: Time(STORE + 60 * SECOND),
        stale_until: Time(STORE + 60 * SECOND),
        refresh_at: Time::NEVER,
        tags: [Tag::new("tag", "tag").unwrap()].into(),
    })
}

/// Copies an entry whose read began with this mark, as of that time.
fn copy(near: &Near, of: &str, entry: &Arc<Entry>, mark: Mark) {
    let store = Time(STORE + mark.sent.0);
    near.copy((&namespace("n"), &key(of)), entry, (mark, store));
}

fn version_at(near: &Near, of: &str, seconds: u64) -> Option<u64> {
    let now = Time(seconds * SECOND);
    let found = near.find(&namespace("n"), &[key(of)], now, |_, _| true);
    let (entry, _) = found.into_iter().next().flatten()?;
    Some(entry.version.0)
}

fn version(near: &Near, of: &str) -> Option<u64> {
    version_at(near, of, 1)
}

fn change(of: &str) -> Invalidation {
    Invalidation {
        keys: vec![format!("p:cache:n:v:{of}").into()],
        server: Server::new("127.0.0.1", 6379),
    }
}

#[test]
fn a_copy_is_found_until_its_key_changes() {
    let near = near();
    copy(&near, "k", &entry(1, 10), near.mark(Time(0)));
    copy(&near, "other", &entry(2, 10), near.mark(Time(0)));
    assert_eq!(version(&near, "k"), Some(1));
    near.note(&change("k"));
    assert_eq!(version(&near, "k"), None);
    assert_eq!(version(&near, "other"), Some(2));
    let status = near.status();
    assert_eq!((status.entries, status.invalidations), (1, 1));
    assert_eq!((status.hits, status.misses), (2, 1));
}

#[test]
fn what_was_overtaken_between_its_read_and_its_copy_is_not_served() {
    type Overtake = fn(&Near);
    let overtake: [(&str, Overtake); 5] = [
        ("change", |near| near.note(&change("k"))),
        ("own change", |near| {
            near.changed(&namespace("n"), &key("k"));
        }),
        ("clear", |near| near.invalidated(b"p:cache:n:c")),
        ("own clear", |near| near.cleared(&namespace("n"))),
        ("reset", |near| near.reset(NearReset::Lagged)),
    ];
    for (what, overtake) in overtake {
        for known in [false, true] {
            let near = near();
            if known {
                copy(&near, "before", &entry(1, 10), near.mark(Time(0)));
            }
            let mark = near.mark(Time(0));
            overtake(&near);
            copy(&near, "k", &entry(2, 10), mark);
            assert_eq!(version(&near, "k"), None, "{what}, known: {known}");
            copy(&near, "k", &entry(3, 10), near.mark(Time(0)));
            assert_eq!(version(&near, "k"), Some(3), "{what}, known: {known}");
        }
    }
}

#[test]
fn a_clear_hides_the_copies_of_its_namespace_alone() {
    let near = near();
    copy(&near, "k", &entry(1, 10), near.mark(Time(0)));
    let beside = namespace("a:b");
    let mark = near.mark(Time(0));
    near.copy((&beside, &key("k")), &entry(2, 10), (mark, Time(STORE)));
    near.invalidated(b"p:cache:n:c");
    assert_eq!(version(&near, "k"), None);
    let found = |near: &Near| near.find(&beside, &[key("k")], Time(0), |_, _| true);
    assert!(found(&near)[0].is_some());
    near.invalidated(b"p:cache:a%3Ab:v:k");
    assert!(found(&near)[0].is_none());
}

#[test]
fn keys_that_hold_neither_entries_nor_clears_mean_nothing() {
    let near = near();
    copy(&near, "k", &entry(1, 10), near.mark(Time(0)));
    for other in [
        "p:guard",
        "p:cache:n:m",
        "p:cache:n:g:k",
        "p:cache:n",
        "k",
        "",
    ] {
        near.invalidated(other.as_bytes());
    }
    near.invalidated(b"p:cache:n:v:\xff");
    assert_eq!(version(&near, "k"), Some(1));
    assert_eq!(near.status().invalidations, 0);
}

#[test]
fn of_two_reads_the_later_value_stays() {
    let near = near();
    let (first, second) = (near.mark(Time(0)), near.mark(Time(0)));
    copy(&near, "k", &entry(2, 10), second);
    copy(&near, "k", &entry(1, 10), first);
    assert_eq!(version(&near, "k"), Some(2));
}

#[test]
fn what_was_read_past_the_copies_leaves_none_that_is_older() {
    let near = near();
    let now = near.mark(Time(0));
    copy(&near, "a", &entry(1, 10), now);
    copy(&near, "b", &entry(2, 10), now);
    let seen = |of: &str, version| near.seen((&namespace("n"), &key(of)), Version(version));
    seen("a", 2);
    seen("b", 2);
    assert_eq!((version(&near, "a"), version(&near, "b")), (None, Some(2)));
    // A read that began before may bring an older one.
    copy(&near, "a", &entry(1, 10), now);
    assert_eq!(version(&near, "a"), None);
    copy(&near, "a", &entry(2, 10), near.mark(Time(0)));
    assert_eq!(version(&near, "a"), Some(2));
}

#[test]
fn a_copy_ends_by_its_age_and_by_its_ttl() {
    let near = near();
    copy(&near, "k", &entry(1, 10), near.mark(Time(0)));
    assert_eq!(version_at(&near, "k", 9), Some(1));
    assert_eq!(version_at(&near, "k", 10), None);
    copy(&near, "k", &entry(1, 10), near.mark(Time(55 * SECOND)));
    assert_eq!(version_at(&near, "k", 59), Some(1));
    assert_eq!(version_at(&near, "k", 60), None);
}

#[test]
fn a_value_too_large_is_not_copied_and_bytes_stay_within_their_bound() {
    let near = near();
    copy(&near, "large", &entry(1, (1 << 17) + 1), near.mark(Time(0)));
    assert_eq!(version(&near, "large"), None);
    for number in 0..2_000 {
        copy(
            &near,
            &format!("k{number}"),
            &entry(1, 4_096),
            near.mark(Time(0)),
        );
    }
    let status = near.status();
    assert!(status.bytes <= 1 << 20 && status.entries > 50, "{status:?}");
    assert!(status.evictions > 0, "{status:?}");
}

#[test]
fn more_namespaces_than_are_kept_apart_empty_the_copies() {
    let near = near();
    for name in ["1", "2", "3"] {
        let mark = near.mark(Time(0));
        near.copy(
            (&namespace(name), &key("k")),
            &entry(1, 10),
            (mark, Time(STORE)),
        );
    }
    let status = near.status();
    assert_eq!(status.resets[NearReset::Namespaces as usize], 1);
    // The read that did not fit began before the reset.
    assert_eq!(status.entries, 1);
    let found = near.find(&namespace("3"), &[key("k")], Time(0), |_, _| true);
    assert!(found[0].is_none());
}

#[test]
fn word_of_changes_that_was_lost_empties_the_copies() {
    let near = near();
    copy(&near, "k", &entry(1, 10), near.mark(Time(0)));
    let (sender, mut changes) = broadcast::channel(2);
    for number in 0..4 {
        sender.send(change(&format!("other{number}"))).unwrap();
    }
    near.note_waiting(&mut changes);
    assert_eq!(version(&near, "k"), None);
    let status = near.status();
    assert_eq!(status.resets[NearReset::Lagged as usize], 1);
    assert_eq!(status.invalidations, 2);
}

#[test]
fn copies_made_while_changes_come_are_never_older_than_the_last_change() {
    let near = &near();
    let last = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        // The writer: a new version, then word of it.
        scope.spawn(|| {
            for version in 1..2_000 {
                last.store(version, Ordering::SeqCst);
                near.changed(&namespace("n"), &key("k"));
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let mark = near.mark(Time(0));
                    let read = last.load(Ordering::SeqCst);
                    std::thread::yield_now();
                    copy(near, "k", &entry(read, 10), mark);
                }
            });
        }
        // The reader: what was known to be told is not undercut.
        scope.spawn(|| {
            for _ in 0..2_000 {
                near.changed(&namespace("n"), &key("k"));
                let told = last.load(Ordering::SeqCst);
                near.changed(&namespace("n"), &key("k"));
                if let Some(version) = version_at(near, "k", 0) {
                    assert!(version >= told, "{version} after {told}");
                }
            }
        });
    });
}
