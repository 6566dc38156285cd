//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            appending {
                an_appended_record_is_read_back_as_it_was,
                the_records_of_a_batch_stand_together_where_the_answer_says,
                offsets_rise_with_every_append,
                partitions_know_nothing_of_each_other,
                appends_under_way_stand_in_the_order_of_their_calls,
                an_append_that_nobody_waits_for_goes_on,
                every_acknowledged_batch_of_many_writers_stands,
                a_batch_as_large_as_allowed_is_taken,
                what_can_never_be_appended_is_refused_with_the_field,
            }
            reading {
                a_read_begins_at_its_offset,
                a_read_stops_at_its_budget_and_brings_at_least_one,
                a_read_at_the_end_brings_nothing,
                a_read_beyond_the_end_is_out_of_range,
                an_empty_partition_has_bounds_and_nothing_to_read,
                a_partition_that_does_not_exist_is_refused,
                the_history_stays_the_same,
            }
            waiting {
                a_wait_ends_when_a_record_comes,
                a_wait_for_what_is_there_ends_at_once,
                a_wait_hears_nothing_of_other_partitions,
                a_dropped_wait_changes_nothing,
                all_who_wait_are_told,
                a_reader_that_waits_and_reads_sees_all_of_a_busy_writer,
            }
            trimming {
                what_is_not_trimmed_stays,
                what_was_trimmed_is_gone_or_as_it_was,
                a_trim_may_be_repeated_and_never_brings_anything_back,
                a_partition_trimmed_to_its_end_goes_on_with_higher_offsets,
                a_trim_beyond_the_end_is_out_of_range,
            }
            seeking {
                a_seek_to_a_time_misses_nothing_since_then,
                a_seek_before_and_after_everything_stays_within_the_bounds,
            }
        }
    };
}

/// Makes a test of every case of the log suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh log under those
/// settings.
/// The tests run on a paused Tokio runtime, unless other attributes are given.
#[macro_export]
macro_rules! log_conformance {
    ($subject:path) => {
        $crate::log_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__log_test, __log_tests};
        $crate::__log_cases!(__log_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__log_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::log::Settings::default()).await;
            $crate::run(make, $crate::log::cases::$case).await;
        }
    };
}
