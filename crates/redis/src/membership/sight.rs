//! What a beat tells and is answered: the wire form of `beat.lua`.

use super::Member;
use super::silence::{Place, Sight};
use crate::Reply;
use trellis_core::{Micros, Time};

/// The answer to a beat.
pub(super) struct Beat {
    /// The store's time.
    pub now: u64,
    /// The highest token that was ever minted.
    pub minted: u64,
    pub seen: Vec<Seen>,
}

/// One daemon as a beat has shown it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub member: Member,
    pub sight: Sight,
    /// Whether the store has lost it since.
    pub lost: bool,
    /// Whether it has left, and spends nothing any more.
    pub left: bool,
}

/// A place as `beat.lua` takes it.
pub(super) fn place_text(place: Option<Place>) -> String {
    place.map_or_else(String::new, |(index, count)| format!("{index} {count}"))
}

fn place_of(text: &str) -> Option<Place> {
    let (index, count) = text.split_once(' ')?;
    let place = (index.parse().ok()?, count.parse().ok()?);
    (place.0 < place.1).then_some(place)
}

/// What `beat.lua` has answered.
pub(super) fn parse(reply: &Reply) -> Option<Beat> {
    let [now, minted, seen @ ..] = reply.items() else {
        return None;
    };
    Some(Beat {
        now: now.number()?,
        minted: minted.number()?,
        seen: seen.iter().map(parse_one).collect::<Option<_>>()?,
    })
}

fn parse_one(reply: &Reply) -> Option<Seen> {
    let [
        daemon,
        incarnation,
        generation,
        beat,
        version,
        protocol,
        address,
        at,
        place,
        apart,
        dead,
    ] = reply.items()
    else {
        return None;
    };
    Some(Seen {
        member: Member {
            daemon: daemon.text()?.to_owned(),
            incarnation: incarnation.number()?,
            generation: generation.number()?,
            version: version.text()?.to_owned(),
            protocol: protocol.number()?.try_into().ok()?,
            address: address.text()?.to_owned(),
            beat: beat.number()?,
            silence: Micros::ZERO,
            looked_at: Time::default(),
        },
        sight: Sight {
            at: at.number()?,
            place: place_of(place.text()?),
            apart: apart.text()? == "1",
            dead: dead.text()? == "1",
        },
        lost: false,
        left: dead.text()? == "left",
    })
}
