//! What must be run, for an engine to go on.

use std::fmt;
use std::pin::Pin;

/// One of the tasks of an engine. It ends once that is closed, never before; without it nothing goes on.
pub struct EngineTask {
    name: &'static str,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for EngineTask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = formatter.debug_struct("EngineTask");
        it.field("name", &self.name).finish_non_exhaustive()
    }
}

impl EngineTask {
    pub(crate) fn new(name: &'static str, run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            name,
            run: Box::pin(run),
        }
    }

    /// Its name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it to its end.
    pub async fn run(self) {
        self.run.await;
    }
}
