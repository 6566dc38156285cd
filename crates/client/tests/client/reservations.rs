//! The guard: settled once, released when dropped, handed over by its id.

use std::time::Duration;

use tokio::join;
use trellis_client::{Actual, Charge, Client, ErrorKind, ErrorReason, Extended, Reservation};
use trellis_proto::v1 as proto;

use crate::errors::refusal;
use crate::fake::{Fake, answers, expect_call};

async fn reserve(fake: &mut Fake, client: &Client, id: &str) -> Reservation {
    let limits = client.limits();
    let acquire = limits
        .acquire()
        .charge(Charge::new("slots", 1))
        .reserve(Duration::from_mins(1));
    let (acquired, _) = join!(acquire.send(), async {
        expect_call!(fake, Acquire).answer(answers::reserved(id))
    });
    acquired.unwrap().granted().unwrap().reservation.unwrap()
}

#[tokio::test]
async fn a_guard_settles_once_and_then_releases_nothing() {
    let (mut fake, client) = Fake::with_client().await;
    let reservation = reserve(&mut fake, &client, "r-1").await;
    assert_eq!(reservation.id(), "r-1");
    assert!(reservation.expires_in() <= Duration::from_mins(1));
    assert!(reservation.expires_in() > Duration::from_secs(50));

    let (settled, request) = join!(
        reservation.settle([Actual::new("slots", 0).key("k")]),
        async {
            let charge = proto::SettledCharge {
                limit: "slots".into(),
                refunded: 3,
                ..Default::default()
            };
            let answer = proto::SettleResponse {
                charges: vec![charge],
                scope: answers::scope(),
            };
            expect_call!(fake, Settle).answer(answer)
        }
    );
    assert_eq!(settled.unwrap().charges[0].refunded, 3);
    assert_eq!(request.reservation_id, "r-1");
    assert_eq!(
        (request.actual[0].key.as_str(), request.actual[0].amount),
        ("k", 0)
    );

    // Releases are sent in order: had the settled guard released, "r-1" would come first.
    drop(reserve(&mut fake, &client, "r-2").await);
    assert_eq!(expect_call!(fake, Settle).request.reservation_id, "r-2");
}

#[tokio::test]
async fn a_dropped_guard_frees_its_slots_and_keeps_its_charges() {
    let (mut fake, client) = Fake::with_client().await;
    drop(reserve(&mut fake, &client, "r-1").await);
    let request = expect_call!(fake, Settle).answer(answers::settled());
    assert_eq!(request.reservation_id, "r-1");
    assert!(request.actual.is_empty() && !request.refund_all);
}

#[tokio::test]
async fn releases_are_sent_after_the_last_handle_is_gone() {
    let (mut fake, client) = Fake::with_client().await;
    let reservation = reserve(&mut fake, &client, "r-1").await;
    drop(client);
    drop(reservation);
    assert_eq!(expect_call!(fake, Settle).request.reservation_id, "r-1");
}

#[tokio::test]
async fn a_refund_gives_everything_back() {
    let (mut fake, client) = Fake::with_client().await;
    let reservation = reserve(&mut fake, &client, "r-1").await;
    let (settled, request) = join!(reservation.refund(), async {
        expect_call!(fake, Settle).answer(answers::settled())
    });
    settled.unwrap();
    assert!(request.refund_all);
}

#[tokio::test]
async fn an_id_handed_over_is_settled_by_the_other_side_alone() {
    let (mut fake, client) = Fake::with_client().await;
    let id = reserve(&mut fake, &client, "r-1").await.into_id();
    reserve(&mut fake, &client, "r-2").await.forget();
    let limits = client.limits();
    let (settled, request) = join!(limits.settle(id, []), async {
        expect_call!(fake, Settle).answer(answers::settled())
    });
    settled.unwrap();
    assert_eq!(request.reservation_id, "r-1");
}

#[tokio::test]
async fn a_failed_settle_leaves_the_reservation_to_be_settled_by_id() {
    let (mut fake, client) = Fake::with_client().await;
    let reservation = reserve(&mut fake, &client, "r-1").await;
    let (settled, ()) = join!(reservation.settle_as_reserved(), async {
        expect_call!(fake, Settle).fail(refusal(ErrorReason::Draining, |_| {}));
    });
    assert_eq!(
        settled.unwrap_err().kind(),
        ErrorKind::Refused(ErrorReason::Draining)
    );
    drop(reserve(&mut fake, &client, "r-2").await);
    assert_eq!(expect_call!(fake, Settle).request.reservation_id, "r-2");
}

#[tokio::test]
async fn an_extension_moves_the_deadline() {
    let (mut fake, client) = Fake::with_client().await;
    let mut reservation = reserve(&mut fake, &client, "r-1").await;
    let before = reservation.deadline();
    let extend = reservation.extend(Duration::from_mins(5), Charge::new("tokens", 10));
    let (extended, request) = join!(extend.request_id("x").into_future(), async {
        expect_call!(fake, Extend).answer(proto::ExtendReservationResponse {
            outcome: proto::Outcome::Granted.into(),
            reservation_ttl: answers::duration(Duration::from_mins(5)),
            scope: answers::scope(),
            ..Default::default()
        })
    });
    assert!(matches!(extended.unwrap(), Extended::Granted { .. }));
    assert_eq!(request.charges[0].limit, "tokens");
    assert_eq!(request.request_id, "x");
    assert!(reservation.deadline() > before + Duration::from_mins(3));
    reservation.forget();
}

#[tokio::test]
async fn a_denied_extension_leaves_the_deadline() {
    let (mut fake, client) = Fake::with_client().await;
    let mut reservation = reserve(&mut fake, &client, "r-1").await;
    let before = reservation.deadline();
    let (extended, _) = join!(
        reservation.extend(Duration::from_mins(5), []).into_future(),
        async {
            expect_call!(fake, Extend).answer(proto::ExtendReservationResponse {
                outcome: proto::Outcome::Denied.into(),
                retry_after: answers::duration(Duration::from_secs(1)),
                scope: answers::scope(),
                ..Default::default()
            })
        }
    );
    assert!(matches!(extended.unwrap(), Extended::Denied { .. }));
    assert_eq!(reservation.deadline(), before);
}

#[tokio::test]
async fn a_grant_that_cannot_be_read_is_released() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let (acquired, _) = join!(limits.try_acquire(Charge::new("slots", 1)), async {
        let answer = proto::AcquireResponse {
            outcome: 99,
            ..answers::reserved("r-1")
        };
        expect_call!(fake, Acquire).answer(answer)
    });
    assert_eq!(acquired.unwrap_err().kind(), ErrorKind::InvalidAnswer);
    assert_eq!(expect_call!(fake, Settle).request.reservation_id, "r-1");
}
