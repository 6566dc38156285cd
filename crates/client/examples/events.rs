//! Events: publishing, a subscription that resumes by itself, and a group whose members share the work.

#![allow(clippy::print_stdout, reason = "the example prints what it does")]

use serde::{Deserialize, Serialize};
use trellis_client::Client;
use trellis_client::events::{Event, Heard, Start};

#[derive(Serialize, Deserialize)]
struct Paid {
    order: u64,
    cents: u64,
}

#[tokio::main]
async fn main() -> trellis_client::Result<()> {
    let client = Client::connect("http://127.0.0.1:7117").await?;
    let payments = client.topic("payments");

    // With an id, an event that is published again stands once.
    let paid = Paid {
        order: 42,
        cents: 990,
    };
    let event = Event::json("/shop", "order.paid", &paid)?.id("paid-42");
    payments.publish(event.clone()).await?;
    let again = payments.publish(event).await?;
    println!("published again: {}", again.duplicate);

    // Very many: the answers are awaited apart from the sending.
    let publisher = payments.publisher();
    let mut answers = Vec::new();
    for order in 43..143 {
        let paid = Paid { order, cents: 100 };
        let event = Event::json("/shop", "order.paid", &paid)?.id(format!("paid-{order}"));
        answers.push(publisher.publish(event).await?);
    }
    for answer in answers {
        answer.await?;
    }

    // Everything from the first event on, whatever becomes of the connection meanwhile.
    let mut subscription = payments.subscribe().start(Start::Earliest).open().await?;
    let mut cents = 0;
    while let Heard::Event(event) = subscription.next().await? {
        cents += event.json::<Paid>()?.cents;
    }
    println!("{cents} cents");

    // Each event is done by one member of the group. Dropped unanswered, it goes back.
    let ledger = payments.group("ledger");
    let mut consumer = ledger.consumer().start(Start::Earliest).open();
    let delivery = consumer.next().await?;
    println!("order {} is mine", delivery.json::<Paid>()?.order);
    delivery.ack().await
}
