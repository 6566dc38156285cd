//! The log on files that fail and lose what was not synced, and on files that were damaged.

mod damage;
mod faults;
mod history;
mod keep;
mod life;
mod sim;
