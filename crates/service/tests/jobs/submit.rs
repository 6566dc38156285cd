//! A submitter's stream.

use crate::bench::Bench;
use crate::support::streams::{Duplex, field, of_item, reason};
use trellis_proto::v1;
use v1::job_payload::Content;
use v1::job_service_submit_stream_request::Request;
use v1::job_service_submit_stream_response::Response;

type Stream = Duplex<v1::JobServiceSubmitStreamRequest, v1::JobServiceSubmitStreamResponse>;

impl Stream {
    async fn open(bench: &Bench, namespace: &str) -> Self {
        let (requests, outgoing) = Self::outgoing();
        let answers = bench.stub().submit_stream(outgoing).await;
        let answers = answers.unwrap().into_inner();
        let stream = Self { requests, answers };
        let namespace = namespace.to_owned();
        stream
            .ask(0, Request::Open(v1::StreamOpen { namespace }))
            .await;
        stream
    }

    async fn ask(&self, id: u64, request: Request) {
        let request = Some(request);
        self.send(v1::JobServiceSubmitStreamRequest { id, request })
            .await;
    }

    async fn submit(&self, id: u64, data: &str) {
        self.ask(id, Request::Submit(submit(data))).await;
    }

    async fn answer(&mut self) -> (u64, Response) {
        let answer = self.next().await;
        (answer.id, answer.response.unwrap())
    }

    async fn submitted(&mut self) -> (u64, v1::SubmittedJob) {
        match self.answer().await {
            (id, Response::Submitted(answer)) => {
                assert_eq!(answer.scope.unwrap().kind(), v1::ScopeKind::Local);
                (id, answer.job.unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&mut self) -> (u64, String) {
        match self.answer().await {
            (id, Response::Error(status)) => (id, field::<()>(Err(of_item(&status)))),
            other => panic!("{other:?}"),
        }
    }
}

fn submit(data: &str) -> v1::JobServiceSubmitRequest {
    let content = Some(Content::Data(data.to_owned().into()));
    v1::JobServiceSubmitRequest {
        job: Some(v1::JobSpec {
            queue: "ocr".into(),
            payload: Some(v1::JobPayload { content }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_stream_stand_in_their_order_and_are_answered_under_their_ids() {
    let bench = Bench::start().await;
    let mut stream = Stream::open(&bench, "").await;
    for (id, data) in [(7, "a"), (3, "b"), (5, "c")] {
        stream.submit(id, data).await;
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (id, job) = stream.submitted().await;
        assert_eq!(job.decision(), v1::JobDecision::New);
        ids.push(id);
    }
    ids.sort_unstable();
    assert_eq!(ids, [3, 5, 7]);
    let got = bench.life.get("ocr", 10, trellis_core::Micros::ZERO).await;
    let data: Vec<_> = got.iter().map(|job| job.payload.data.clone()).collect();
    assert_eq!(data, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_job_answers_under_its_id_and_the_stream_goes_on() {
    let bench = Bench::start().await;
    let mut stream = Stream::open(&bench, "").await;
    let mut high = submit("a");
    high.job.as_mut().unwrap().priority = Some(10);
    stream.ask(1, Request::Submit(high)).await;
    assert_eq!(stream.refused().await, (1, "job.priority".to_owned()));
    let mut none = submit("a");
    none.job.as_mut().unwrap().queue.clear();
    stream.ask(2, Request::Submit(none)).await;
    assert_eq!(stream.refused().await, (2, "job.queue".to_owned()));
    // What only the port refuses is named within the request too.
    let mut lost = submit("a");
    lost.job.as_mut().unwrap().options = Some(v1::JobOptions {
        batch: Some(v1::JobInBatch {
            batch_id: format!("{:032x}", 1),
            index: 0,
        }),
        ..Default::default()
    });
    stream.ask(3, Request::Submit(lost)).await;
    let batch = "job.options.batch.batch_id";
    assert_eq!(stream.refused().await, (3, batch.to_owned()));
    stream
        .ask(4, Request::Open(v1::StreamOpen::default()))
        .await;
    assert_eq!(stream.refused().await, (4, "request".to_owned()));
    stream
        .send(v1::JobServiceSubmitStreamRequest {
            id: 5,
            request: None,
        })
        .await;
    assert_eq!(stream.refused().await, (5, "request".to_owned()));
    stream.submit(6, "good").await;
    assert_eq!(stream.submitted().await.0, 6);
}

#[tokio::test(start_paused = true)]
async fn the_streams_namespace_counts_where_a_job_names_none() {
    let bench = Bench::start().await;
    let mut stream = Stream::open(&bench, "elsewhere").await;
    stream.submit(1, "a").await;
    let (_, job) = stream.submitted().await;
    let get = |namespace: &str| v1::JobServiceGetRequest {
        namespace: namespace.into(),
        job_id: job.job_id.clone(),
    };
    bench.stub().get(get("elsewhere")).await.unwrap();
    assert_eq!(reason(bench.stub().get(get("")).await), "JOB_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_was_accepted_and_says_so_last() {
    let bench = Bench::start().await;
    let mut stream = Stream::open(&bench, "").await;
    stream.submit(1, "a").await;
    assert_eq!(stream.submitted().await.0, 1);
    bench.drain.cancel();
    let (id, Response::Draining(draining)) = stream.answer().await else {
        panic!("a stream that ends says why");
    };
    assert_eq!(id, 0);
    assert!(!draining.reason.is_empty());
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_open_and_submitters_count_among_the_streams() {
    let bench = Bench::start().await;
    let (requests, outgoing) = Stream::outgoing();
    let request = Some(Request::Submit(submit("a")));
    requests
        .send(v1::JobServiceSubmitStreamRequest { id: 1, request })
        .await
        .unwrap();
    let mut answers = bench
        .stub()
        .submit_stream(outgoing)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(field(answers.message().await), "request");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Stream::open(&bench, "").await);
    }
    let (_requests, outgoing) = Stream::outgoing();
    let refused = bench.stub().submit_stream(outgoing).await;
    assert_eq!(reason(refused), "TOO_MANY_STREAMS");
}
