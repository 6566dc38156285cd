//! Acquires by RPCs of their own: what goes out, and how each outcome comes back.

use std::time::Duration;

use tokio::join;
use trellis_client::{Acquired, Charge, ErrorKind, Priority, Scope, Spec, SpecSource};
use trellis_proto::v1 as proto;

use crate::fake::{Fake, answers, expect_call};

#[tokio::test]
async fn a_try_goes_out_with_its_deadline_and_comes_back_granted() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits().namespace("billing");
    let (acquired, request) = join!(
        limits.try_acquire(Charge::new("calls", 2).key("k")),
        async {
            let exchange = expect_call!(fake, Acquire);
            assert_eq!(exchange.timeout.as_deref(), Some("10000000u"));
            exchange.answer(answers::granted())
        }
    );
    assert_eq!(request.namespace, "billing");
    assert_eq!(request.mode(), proto::AcquireMode::Try);
    assert_eq!((request.max_wait, request.reservation_ttl), (None, None));
    assert_eq!(request.charges[0].amount, 2);

    let acquired = acquired.unwrap();
    assert_eq!(*acquired.scope(), Scope::Local);
    let grant = acquired.granted().unwrap();
    assert!(grant.reservation.is_none());
    assert_eq!(grant.charges[0].remaining, 4);
    assert_eq!(grant.charges[0].spec, Spec::concurrency(5));
    assert_eq!(grant.charges[0].source, SpecSource::SetLimit);
}

#[tokio::test]
async fn a_wait_has_its_max_wait_on_top_of_the_deadline() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let acquire = limits
        .acquire()
        .charge(Charge::new("a", 1))
        .charges([Charge::new("b", 2), Charge::new("c", 3)])
        .max_wait(Duration::from_secs(5))
        .reserve(Duration::from_secs(30))
        .request_id("r-1")
        .priority(Priority::Batch)
        .dry_run();
    let (acquired, request) = join!(acquire.send(), async {
        let exchange = expect_call!(fake, Acquire);
        assert_eq!(exchange.timeout.as_deref(), Some("15000000u"));
        exchange.answer(answers::granted())
    });
    assert!(acquired.unwrap().is_granted());
    assert_eq!(request.mode(), proto::AcquireMode::Wait);
    assert_eq!(request.max_wait, answers::duration(Duration::from_secs(5)));
    assert_eq!(
        request.reservation_ttl,
        answers::duration(Duration::from_secs(30))
    );
    assert_eq!(request.request_id, "r-1");
    assert_eq!(request.priority(), proto::Priority::Batch);
    assert!(request.dry_run);
    let names: Vec<_> = request
        .charges
        .iter()
        .map(|charge| charge.limit.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn every_outcome_is_told_apart() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let pause = Duration::from_millis(250);
    for outcome in [
        proto::Outcome::Denied,
        proto::Outcome::Never,
        proto::Outcome::TimedOut,
        proto::Outcome::Lost,
    ] {
        let (acquired, _) = join!(limits.try_acquire(Charge::new("calls", 1)), async {
            let mut answer = answers::outcome(outcome);
            answer.position = 7;
            expect_call!(fake, Acquire).answer(answer)
        });
        let acquired = acquired.unwrap();
        match outcome {
            proto::Outcome::Denied => {
                assert!(
                    matches!(acquired, Acquired::Denied { retry_after, .. } if retry_after == pause)
                );
            }
            proto::Outcome::Never => assert!(matches!(acquired, Acquired::Never { .. })),
            proto::Outcome::TimedOut => {
                assert!(matches!(acquired, Acquired::TimedOut { position: 7, .. }));
                assert_eq!(acquired.retry_after(), Some(pause));
            }
            _ => assert!(matches!(acquired, Acquired::Lost { .. })),
        }
    }
}

#[tokio::test]
async fn a_batch_is_answered_item_by_item_in_order() {
    use proto::batch_acquire_result::Result as Item;
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let acquire = |name: &str| limits.acquire().charge(Charge::new(name, 1));
    let batch = vec![
        acquire("a"),
        acquire("b").max_wait(Duration::from_secs(2)),
        acquire("c"),
    ];
    let (results, request) = join!(limits.acquire_batch(batch), async {
        let status = tonic_types::Status {
            code: 5,
            message: "b".into(),
            details: Vec::new(),
        };
        let items = [
            Item::Response(answers::granted()),
            Item::Error(status),
            Item::Response(answers::outcome(proto::Outcome::Denied)),
        ];
        let results = items
            .map(|item| proto::BatchAcquireResult { result: Some(item) })
            .into();
        let exchange = expect_call!(fake, Batch);
        assert_eq!(exchange.timeout.as_deref(), Some("12000000u"));
        exchange.answer(proto::BatchAcquireResponse { results })
    });
    assert_eq!(request.requests[1].charges[0].limit, "b");
    let results = results.unwrap();
    assert!(results[0].as_ref().unwrap().is_granted());
    assert_eq!(
        results[1].as_ref().unwrap_err().code(),
        tonic::Code::NotFound
    );
    assert!(matches!(results[2], Ok(Acquired::Denied { .. })));
}

#[tokio::test]
async fn a_batch_with_too_few_results_is_an_invalid_answer() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let batch = vec![limits.acquire().charge(Charge::new("a", 1))];
    let (results, _) = join!(limits.acquire_batch(batch), async {
        expect_call!(fake, Batch).answer(proto::BatchAcquireResponse::default())
    });
    assert_eq!(results.unwrap_err().kind(), ErrorKind::InvalidAnswer);
}
