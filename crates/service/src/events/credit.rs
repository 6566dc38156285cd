//! What a reader has granted and was not sent yet.

use crate::EventBounds;
use trellis_core::events::Room;
use trellis_core::{Error, Result};
use trellis_proto::v1;

/// The bytes meant by an `open` that names none.
const DEFAULT_BYTES: i64 = 4 * 1024 * 1024;

/// An account of events and their bytes. Bytes may be overdrawn by one event.
#[derive(Debug, Default)]
pub(super) struct Credit {
    events: i64,
    bytes: i64,
}

impl Credit {
    /// What the first message grants: so many events where it does not say.
    pub fn open(
        credit: Option<v1::EventCredit>,
        default_events: i64,
        bounds: &EventBounds,
    ) -> Result<Self> {
        let mut first = credit.unwrap_or(v1::EventCredit {
            events: default_events,
            bytes: 0,
        });
        if first.bytes == 0 {
            first.bytes = DEFAULT_BYTES.min(bounds.max_credit_bytes.into());
        }
        let mut credit = Self::default();
        credit.grant(first, bounds)?;
        Ok(credit)
    }

    /// Adds what a message grants, all or nothing.
    pub fn grant(&mut self, credit: v1::EventCredit, bounds: &EventBounds) -> Result<()> {
        let events = add(
            self.events,
            credit.events,
            bounds.max_credit_events,
            "credit.events",
        )?;
        let max_bytes = bounds.max_credit_bytes;
        self.bytes = add(self.bytes, credit.bytes, max_bytes, "credit.bytes")?;
        self.events = events;
        Ok(())
    }

    /// What may be sent now, at most `most`; `None` when nothing may.
    pub fn room(&self, most: Room) -> Option<Room> {
        let events = usize::try_from(self.events).ok().filter(|it| *it > 0)?;
        let bytes = usize::try_from(self.bytes).ok().filter(|it| *it > 0)?;
        Some(Room {
            events: events.min(most.events),
            bytes: bytes.min(most.bytes),
        })
    }

    pub fn spend(&mut self, events: usize, bytes: usize) {
        let signed = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
        self.events = self.events.saturating_sub(signed(events));
        self.bytes = self.bytes.saturating_sub(signed(bytes));
    }
}

fn add(left: i64, granted: i64, max: u32, field: &str) -> Result<i64> {
    let sum = left.saturating_add(granted);
    if granted < 0 || sum > i64::from(max) {
        let allowed =
            format!("must be at least 0 and at most {max} in all, is {granted} beside {left}");
        return Err(Error::invalid(field, allowed));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Room = Room {
        events: 100,
        bytes: 1_000,
    };

    fn credit(events: i64, bytes: i64) -> v1::EventCredit {
        v1::EventCredit { events, bytes }
    }

    fn room(credit: &Credit) -> Option<(usize, usize)> {
        credit.room(MOST).map(|room| (room.events, room.bytes))
    }

    #[test]
    fn what_an_event_took_too_much_is_taken_from_what_is_granted_next() {
        let bounds = EventBounds::default();
        let mut account = Credit::open(Some(credit(3, 10)), 1, &bounds).unwrap();
        assert_eq!(room(&account), Some((3, 10)));
        account.spend(1, 30);
        assert_eq!(room(&account), None);
        account.grant(credit(0, 20), &bounds).unwrap();
        assert_eq!(room(&account), None);
        account.grant(credit(0, 5), &bounds).unwrap();
        assert_eq!(room(&account), Some((2, 5)));
    }

    #[test]
    fn an_open_that_names_none_has_the_defaults() {
        let bounds = EventBounds::default();
        assert_eq!(
            room(&Credit::open(None, 7, &bounds).unwrap()),
            Some((7, 1_000))
        );
        let none = Credit::open(Some(credit(0, 0)), 7, &bounds).unwrap();
        assert_eq!(room(&none), None);
    }

    #[test]
    fn a_grant_out_of_bounds_is_refused_with_its_field_and_changes_nothing() {
        let bounds = EventBounds::default();
        let mut account = Credit::open(Some(credit(1, 1)), 1, &bounds).unwrap();
        for (bad, field) in [
            (credit(-1, 0), "credit.events"),
            (credit(100_000, 0), "credit.events"),
            (credit(i64::MAX, 0), "credit.events"),
            (credit(5, -1), "credit.bytes"),
            (credit(5, 64 * 1024 * 1024), "credit.bytes"),
        ] {
            let error = account.grant(bad, &bounds).unwrap_err();
            assert_eq!(error.violation.unwrap().field, field);
            assert_eq!(room(&account), Some((1, 1)));
        }
    }
}
