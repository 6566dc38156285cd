//! Values, read with plain commands and judged by the clears read with them.

use super::RedisCache;
use super::blob;
use super::call::without_answer;
use super::near::Mark;
use crate::call::{Reads, Way};
use crate::failure::unreadable;
use crate::{CallError, Reply};
use bytes::Bytes;
use fred::types::Value;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use trellis_core::cache::{Entry, Hit, ReadFrom, Source};
use trellis_core::{EntryKey, Namespace, Result, Time};

/// Values asked for in one command: the server serves others between two.
const TOGETHER: usize = 128;

/// The same in bytes; a larger value is asked for alone. The driver's buffer grows to the size of an answer and copies what it
/// has each time, so that several answers cost less than one large one.
const TOGETHER_BYTES: usize = 128 * 1024;

/// Bytes of values read at a time; more only where the first value alone is more. What is above is deferred.
const READ_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of values that are read without asking for their sizes, by what the largest may have: beyond, the commands of small parts, or
/// keys that are not there, would cost more than to ask.
const UNSIZED_BYTES: usize = 2 * 1024 * 1024;

/// What was found under a key.
pub(super) enum Seen {
    Nothing,
    Damaged,
    Entry(Arc<Entry>),
    /// An entry with tags, older than a clear of some tag: hidden perhaps.
    Doubtful(Arc<Entry>),
    /// Not read: those before were enough.
    Deferred,
}

/// What was found at a time of the store; without an entry at no time.
pub(super) struct Read {
    pub now: Time,
    pub seen: Vec<Seen>,
    /// When it began, if what was found may be copied.
    pub mark: Option<Mark>,
}

/// Which entries are hidden.
#[derive(Default)]
struct Clears {
    /// `None`: the namespace is not in use, so nothing in it can be seen.
    all: Option<u64>,
    forgotten: u64,
    /// The last clear of any tag.
    tagged: u64,
}

impl Clears {
    fn of(reply: &Reply) -> Self {
        let [all, forgotten, tagged] = reply.items() else {
            return Self::default();
        };
        Self {
            all: all.number(),
            forgotten: forgotten.number().unwrap_or(0),
            tagged: tagged.number().unwrap_or(0),
        }
    }

    fn hide(&self, entry: &Entry) -> bool {
        let as_of = entry.as_of.0;
        self.all.is_none_or(|all| as_of <= all)
            || (!entry.tags.is_empty() && as_of <= self.forgotten)
    }

    fn judge(&self, seen: Seen) -> Seen {
        match seen {
            Seen::Entry(entry) if self.hide(&entry) => Seen::Nothing,
            Seen::Entry(entry) if !entry.tags.is_empty() && entry.as_of.0 <= self.tagged => {
                Seen::Doubtful(entry)
            }
            seen => seen,
        }
    }
}

/// Which keys are read, and in which commands.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Places of the keys that are read, in the order of the request.
    read: Vec<usize>,
    /// The parts of `read` that are asked for by one command each.
    commands: Vec<Range<usize>>,
    /// The first place of which nothing is read, for want of room.
    deferred_from: usize,
}

impl Plan {
    /// Reads values of these sizes, in the order of their keys; `None`: there is none.
    fn new(sizes: impl Iterator<Item = Option<usize>>) -> Self {
        let mut plan = Self {
            read: Vec::new(),
            commands: Vec::new(),
            deferred_from: usize::MAX,
        };
        let (mut total, mut command) = (0_usize, 0_usize);
        for (place, size) in sizes.enumerate() {
            let Some(size) = size else {
                continue;
            };
            if total > 0 && total + size > READ_BYTES {
                plan.deferred_from = place;
                break;
            }
            let next = plan.read.len();
            match plan.commands.last_mut() {
                Some(last) if last.len() < TOGETHER && command + size <= TOGETHER_BYTES => {
                    last.end = next + 1;
                    command += size;
                }
                _ => {
                    plan.commands.push(next..next + 1);
                    command = size;
                }
            }
            plan.read.push(place);
            total += size.max(1);
        }
        plan
    }
}

impl RedisCache {
    /// What can be seen under keys, however stale, tags apart. One round trip where no set of values of so many keys can be
    /// too large to be read at a time, as far as is known of the largest, else two, the first for their sizes.
    pub(super) async fn read(
        &self,
        namespace: &Namespace,
        keys: &[&EntryKey],
        from: ReadFrom,
    ) -> Result<Read> {
        let root = self.root(namespace.as_str());
        let plan = self.plan((namespace, &root), keys).await?;
        if plan.read.is_empty() {
            return Ok(Read {
                now: Time::default(),
                seen: keys.iter().map(|_| Seen::Nothing).collect(),
                mark: None,
            });
        }
        // Of its very size, so that the driver need not copy it.
        let value_key = |place: &usize| [root.as_str(), ":v:", keys[*place].as_str()].concat();
        let mut commands: Reads = plan
            .commands
            .iter()
            .map(|part| {
                (
                    "MGET",
                    values(plan.read[part.clone()].iter().map(value_key)),
                )
            })
            .collect();
        // After the values: a clear that they were read before is not missed.
        let clears = [
            format!("{root}:c"),
            "all".into(),
            "forgotten".into(),
            "tagged".into(),
        ];
        commands.extend([("HMGET", values(clears)), ("TIME", Vec::new())]);
        let sent = self.clock.mono();
        let asks_for_largest =
            self.may_be_too_large(keys, None) && self.largest.is_old(namespace, sent);
        if asks_for_largest {
            commands.push(("GET", values([format!("{root}:h")])));
        }
        let (mut replies, mark) = match from {
            ReadFrom::Near => self.ask_tracked(commands).await?,
            // What is not copied need not be tracked.
            ReadFrom::Store => (self.ask_plainly(commands).await?, None),
        };
        if asks_for_largest && let Some(bytes) = replies.pop().and_then(|reply| reply.number()) {
            self.largest
                .told(namespace, bytes.try_into().unwrap_or(usize::MAX), sent);
        }
        let now = replies.pop().and_then(|reply| time(&reply));
        let now = now.ok_or_else(|| unreadable("TIME answers something else"))?;
        let clears = Clears::of(&replies.pop().unwrap_or(Reply::Nil));
        let mut found = replies.iter().flat_map(Reply::items);
        let mut read = plan.read.iter().copied().peekable();
        let seen = (0..keys.len()).map(|place| {
            if place >= plan.deferred_from {
                return Seen::Deferred;
            }
            let reply = read.next_if_eq(&place).and_then(|_| found.next());
            clears.judge(reply.map_or(Seen::Nothing, |reply| self.judge(reply, now)))
        });
        let seen = seen.collect();
        Ok(Read { now, seen, mark })
    }

    /// Whether so many keys are to be sized first: each may have as many bytes as the largest, if that is known, or as any.
    fn may_be_too_large(&self, keys: &[&EntryKey], largest: Option<usize>) -> bool {
        let any = self.config.machine.max_value_bytes.max(1);
        let within = largest.map_or(0, |most| UNSIZED_BYTES / most.max(1));
        keys.len() > within.max(READ_BYTES / any).max(1)
    }

    async fn plan(
        &self,
        (namespace, root): (&Namespace, &str),
        keys: &[&EntryKey],
    ) -> Result<Plan> {
        let largest = self.largest.of(namespace, self.clock.mono());
        if !self.may_be_too_large(keys, largest) {
            let most = largest.unwrap_or(self.config.machine.max_value_bytes);
            return Ok(Plan::new(keys.iter().map(|_| Some(most))));
        }
        let mut asked = vec![format!("{root}:s")];
        asked.extend(keys.iter().map(ToString::to_string));
        let replies = self.ask_plainly(vec![("HMGET", values(asked))]).await?;
        let sizes = replies.first().map_or(&[][..], Reply::items).iter();
        let sizes = sizes.map(|size| Some(usize::try_from(size.number()?).unwrap_or(usize::MAX)));
        Ok(Plan::new(sizes))
    }

    /// The doubtful ones among entries that a read has seen, decided: one round trip if there are any.
    pub(super) async fn without_doubt(
        &self,
        namespace: &Namespace,
        seen: &mut [Seen],
    ) -> Result<()> {
        let tags: BTreeSet<&str> = seen.iter().flat_map(doubtful_tags).collect();
        if tags.is_empty() {
            return Ok(());
        }
        let tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
        let root = self.root(namespace.as_str());
        let mut asked = vec![format!("{root}:t")];
        asked.extend(tags.iter().cloned());
        // Again after the tags: a clear that is forgotten in between is found in one of the two.
        let clears = [
            format!("{root}:c"),
            "all".into(),
            "forgotten".into(),
            "tagged".into(),
        ];
        let commands = vec![("HMGET", values(asked)), ("HMGET", values(clears))];
        let replies = self.ask_plainly(commands).await?;
        let [numbers, clears] = &replies[..] else {
            return Err(unreadable("tags have no answer"));
        };
        let numbers = numbers.items().iter().map(Reply::number);
        let cleared: HashMap<&str, u64> = tags
            .iter()
            .zip(numbers)
            .filter_map(|(tag, number)| Some((tag.as_str(), number?)))
            .collect();
        let clears = Clears::of(clears);
        for one in seen {
            if let Seen::Doubtful(entry) = one {
                let as_of = entry.as_of.0;
                let mut tags = entry.tags.iter();
                let hidden = clears.hide(entry)
                    || tags.any(|tag| {
                        cleared
                            .get(tag.as_str())
                            .is_some_and(|clear| as_of <= *clear)
                    });
                *one = if hidden {
                    Seen::Nothing
                } else {
                    Seen::Entry(Arc::clone(entry))
                };
            }
        }
        Ok(())
    }

    /// The copies of keys that may be answered from, as they are told.
    pub(super) fn near_hits(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        serves: impl Fn(&Entry, Time) -> bool,
    ) -> Vec<Option<Hit>> {
        let Some(near) = &self.near else {
            return vec![None; keys.len()];
        };
        let found = near.find(namespace, keys, self.clock.mono(), serves);
        let told = |(entry, now): (Arc<Entry>, Time)| {
            let hit = entry.told(Source::Near, now);
            self.count_near(namespace, &hit);
            hit
        };
        found.into_iter().map(|one| one.map(told)).collect()
    }

    /// Copies an entry that a tracked read has found; after another read, no older copy is served.
    pub(super) fn copy(
        &self,
        of: (&Namespace, &EntryKey),
        entry: &Arc<Entry>,
        (mark, now): (Option<Mark>, Time),
    ) {
        match (&self.near, mark) {
            (Some(near), Some(mark)) => near.copy(of, entry, (mark, now)),
            (Some(near), None) => near.seen(of, entry.version),
            (None, _) => {}
        }
    }

    /// The value under one key of the store, whatever it is.
    pub(super) async fn read_one(&self, key: String) -> Result<Option<Bytes>> {
        let replies = self.ask_plainly(vec![("GET", values([key]))]).await?;
        Ok(match replies.into_iter().next() {
            Some(Reply::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }

    async fn ask_plainly(&self, commands: Reads) -> Result<Vec<Reply>> {
        let answers = self.store.read(commands).await;
        answers.map_err(|error| without_answer(&error))
    }

    /// Reads where the server takes note of what is read, if there is such a connection: then with the mark of the read.
    async fn ask_tracked(&self, commands: Reads) -> Result<(Vec<Reply>, Option<Mark>)> {
        let marked = self.near.as_ref().and_then(|near| {
            // In this order, so that a reset in between makes what is read too old.
            let mark = near.mark(self.clock.mono());
            Some((mark, near.tracked()?))
        });
        let Some((mark, tracked)) = marked else {
            return Ok((self.ask_plainly(commands).await?, None));
        };
        match self.store.read_beside(tracked.connection(), commands).await {
            Ok((replies, Way::Beside)) => Ok((replies, Some(mark))),
            Ok((replies, Way::Attached)) => Ok((replies, None)),
            Err(CallError::Unknown(reason)) => {
                tracked.unanswered();
                // Reading has changed nothing, so nothing is unknown.
                Err(without_answer(&CallError::Away(reason)))
            }
            Err(error) => Err(without_answer(&error)),
        }
    }

    fn judge(&self, reply: &Reply, now: Time) -> Seen {
        let Reply::Bytes(bytes) = reply else {
            return Seen::Nothing;
        };
        match blob::entry(bytes) {
            Ok(entry) if now < entry.stale_until => Seen::Entry(Arc::new(entry)),
            Ok(_) => Seen::Nothing,
            Err(what) => {
                self.report_damage(what);
                Seen::Damaged
            }
        }
    }
}

fn doubtful_tags(seen: &Seen) -> impl Iterator<Item = &str> {
    let tags = match seen {
        Seen::Doubtful(entry) => &entry.tags[..],
        _ => &[],
    };
    tags.iter().map(trellis_core::Tag::as_str)
}

fn values(texts: impl IntoIterator<Item = String>) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

/// The store's time.
fn time(reply: &Reply) -> Option<Time> {
    let [seconds, micros] = reply.items() else {
        return None;
    };
    Some(Time(seconds.number()? * 1_000_000 + micros.number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn small_values_are_read_together_whatever_their_number() {
        let plan = Plan::new((0..1_000).map(|_| Some(100)));
        assert_eq!(plan.read.len(), 1_000);
        assert_eq!(plan.commands.len(), 1_000_usize.div_ceil(TOGETHER));
        assert_eq!(plan.commands.last(), Some(&(896..1_000)));
        let plan = Plan::new((0..100).map(|_| Some(6 * 1024)));
        assert_eq!(plan.commands.len(), 5);
        assert_eq!(plan.deferred_from, usize::MAX);
    }

    #[test]
    fn a_thousand_large_values_are_read_as_far_as_there_is_room() {
        let plan = Plan::new((0..1_000).map(|_| Some(MIB)));
        assert_eq!((plan.read.len(), plan.deferred_from), (16, 16));
        assert_eq!(plan.commands.len(), 16);
    }

    #[test]
    fn the_first_value_is_read_however_large_and_what_is_not_there_takes_no_room() {
        let plan = Plan::new([None, Some(64 * MIB), None, Some(1)].into_iter());
        assert_eq!((plan.read, plan.deferred_from), (vec![1], 3));
        let plan = Plan::new([None, None, Some(5 * MIB), None, Some(3), Some(2)].into_iter());
        assert_eq!((plan.read, plan.deferred_from), (vec![2, 4, 5], usize::MAX));
        assert_eq!(plan.commands, [0..1, 1..3]);
    }
}
