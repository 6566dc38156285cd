//! The suite on the memory log, on the disk log, and on a log that does all the harm that its port allows.

use super::late::late;
use super::support::{Lasting, Life, clock, config, disk_options, memory_log, ports};
use std::sync::Arc;
use trellis_conformance::Pace;
use trellis_conformance::jobs::{Settings, Subject};
use trellis_conformance::log::{HostileLog, Odds};
use trellis_core::Micros;
use trellis_local::log::DiskLog;

mod memory {
    use super::*;

    async fn memory(settings: Settings) -> Subject {
        let clock = clock();
        let (log, ports) = (memory_log(&clock), ports(&clock).await);
        let life = Life::begin_with(log, &clock, config(settings), ports).await;
        Subject::new(vec![life.engine], Pace::Virtual)
    }

    trellis_conformance::jobs_conformance!(memory);
}

mod disk {
    use super::*;

    async fn disk(settings: Settings) -> Subject {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let log = DiskLog::open(folder.path(), disk_options(), clock.clone()).unwrap();
        let ports = ports(&clock).await;
        let life = Life::begin_with(Arc::new(log), &clock, config(settings), ports).await;
        let tolerance = Micros::from_millis(450);
        Subject::new(vec![life.engine], Pace::Wall { tolerance }).owning(folder)
    }

    trellis_conformance::jobs_conformance!(disk, #[tokio::test(flavor = "multi_thread", worker_threads = 2)]);
}

/// The same seeds every time: a failure is found again by running it again.
mod hostile {
    use super::*;

    async fn on(settings: Settings, seed: u64) -> Subject {
        let clock = clock();
        let log = HostileLog::new(memory_log(&clock), seed, Odds::default());
        let ports = late(ports(&clock).await);
        let life = Life::begin_with(Arc::new(log), &clock, config(settings), ports).await;
        Subject::new(vec![life.engine], Pace::Virtual)
    }

    mod volatile {
        use super::*;

        async fn seven(settings: Settings) -> Subject {
            on(settings, 7).await
        }

        trellis_conformance::jobs_conformance!(seven);
    }

    mod lasting {
        use super::*;

        async fn eight(settings: Settings) -> Subject {
            let clock = clock();
            let log = HostileLog::new(memory_log(&clock), 2_024, Odds::default());
            let mut config = config(settings);
            // Everything is read again.
            config.held_bytes = 0;
            let (log, ports) = (Lasting(Arc::new(log)), late(ports(&clock).await));
            let life = Life::begin_with(Arc::new(log), &clock, config, ports).await;
            Subject::new(vec![life.engine], Pace::Virtual)
        }

        trellis_conformance::jobs_conformance!(eight);
    }
}
