//! What attempts tell while they run, as bytes.

use super::super::record::{JobRecord, Part};
use super::super::stream::{Progress, Report, Stream};
use crate::wire::{Put, Take};
use bytes::Bytes;

impl Put {
    pub(super) fn part(&mut self, part: Part) {
        match part {
            Part::Payload => self.byte(0),
            Part::Left => self.byte(1),
            Part::Chunk(number) => {
                self.byte(2);
                self.number(number);
            }
        }
    }

    fn report(&mut self, report: &Report) {
        self.number(report.done);
        self.optional(report.total);
        self.text(&report.message);
    }

    pub(super) fn progress(&mut self, progress: &Progress) {
        self.flag(progress.checkpoint.is_some());
        self.flag(progress.report.is_some());
        if let Some(report) = &progress.report {
            self.report(report);
        }
    }

    /// What an attempt tells.
    pub(super) fn told(&mut self, record: &JobRecord) {
        match record {
            JobRecord::Progressed {
                job,
                lease,
                progress,
            } => {
                self.byte(7);
                self.job(*job);
                self.lease(*lease);
                self.progress(progress);
            }
            JobRecord::Chunk {
                job,
                lease,
                chunk,
                most,
            } => {
                self.byte(14);
                self.job(*job);
                self.lease(*lease);
                self.number(u64::from(chunk.index));
                self.number(u64::from(most.count));
                self.number(most.bytes);
            }
            _ => {}
        }
    }

    pub(super) fn stream(&mut self, stream: Option<&Stream>) {
        self.flag(stream.is_some());
        let Some(stream) = stream else {
            return;
        };
        self.number(stream.next);
        self.lease(stream.lease);
        self.optional(stream.reset);
        self.number(stream.chunks.len() as u64);
        for (number, place) in &stream.chunks {
            self.number(*number);
            self.place(*place);
        }
        self.flag(stream.report.is_some());
        if let Some((number, report)) = &stream.report {
            self.number(*number);
            self.report(report);
        }
    }
}

impl Take<'_> {
    pub(super) fn part(&mut self) -> Option<Part> {
        Some(match self.byte()? {
            0 => Part::Payload,
            1 => Part::Left,
            2 => Part::Chunk(self.number()?),
            _ => return None,
        })
    }

    fn report(&mut self) -> Option<Report> {
        let done = self.number()?;
        let mut total = None;
        self.optional(&mut total)?;
        let message = self.text()?.into();
        let report = Report {
            done,
            total,
            message,
        };
        report.check().is_ok().then_some(report)
    }

    /// The first records of this kind had nothing but a checkpoint.
    pub(super) fn progress(&mut self, data: &Bytes) -> Option<Progress> {
        if self.0.is_empty() {
            return Some(Progress {
                checkpoint: Some(data.clone()),
                report: None,
            });
        }
        let (left, told) = (self.flag()?, self.flag()?);
        Some(Progress {
            checkpoint: left.then(|| data.clone()),
            report: if told { Some(self.report()?) } else { None },
        })
    }

    /// Reads into `stream`, if there is one.
    pub(super) fn stream(&mut self, stream: &mut Option<Stream>) -> Option<()> {
        if !self.flag()? {
            return Some(());
        }
        let (next, lease) = (self.number()?, self.lease()?);
        let mut reset = None;
        self.optional(&mut reset)?;
        let chunks = self.list(|rest| Some((rest.number()?, rest.place()?)))?;
        let report = if self.flag()? {
            Some((self.number()?, self.report()?))
        } else {
            None
        };
        *stream = Some(Stream {
            next,
            lease,
            reset,
            chunks,
            report,
        });
        Some(())
    }
}
