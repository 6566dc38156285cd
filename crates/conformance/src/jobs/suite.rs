//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __jobs_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            submitting {
                a_job_is_run_and_its_result_told,
                a_job_is_told_as_it_was_submitted,
                a_repeated_request_is_told_its_first_job,
                a_request_id_with_another_body_is_refused,
                a_unique_job_is_refused_or_told_or_takes_the_place,
                jobs_of_one_call_are_answered_by_themselves,
                a_submission_whose_caller_has_gone_stands,
                queues_and_namespaces_do_not_see_each_other,
            }
            order {
                the_highest_priority_goes_first_and_then_who_came_first,
                fair_keys_take_turns_by_their_weights,
                a_delayed_job_runs_at_its_time,
            }
            working {
                each_job_goes_to_one_worker,
                a_worker_waits_for_what_comes,
                a_wait_in_vain_ends_at_its_time,
                a_call_that_was_given_up_takes_nothing,
                a_worker_gets_no_more_than_it_asks_for,
                a_worker_gets_no_more_bytes_than_it_asks_for,
                a_job_whose_lease_ends_runs_again,
                a_lease_that_is_extended_stands,
                a_lease_that_is_let_go_ends_soon,
                a_lease_that_was_let_go_stands_if_it_is_extended,
                a_worker_is_told_when_its_attempt_is_over,
                an_attempt_that_is_over_speaks_for_nothing,
                to_succeed_twice_does_nothing,
                a_checkpoint_reaches_the_next_attempt,
            }
            retries {
                an_attempt_in_vain_waits_and_the_job_is_dead_in_the_end,
                a_job_fails_for_good_if_its_worker_says_so,
                what_is_throttled_or_released_does_not_count,
                an_attempt_that_takes_too_long_is_over,
                a_job_ends_at_its_deadline_also_while_it_runs,
                a_dead_job_is_retried_as_a_new_one,
                a_retry_that_is_named_makes_one_job,
            }
            streams {
                a_reader_gets_what_is_told_in_order_and_one_outcome,
                a_late_reader_gets_all_that_is_valid_and_one_that_returns_goes_on,
                a_new_attempt_voids_what_was_told_before,
                a_slow_reader_holds_nobody_up,
                progress_reaches_readers_and_its_checkpoint_the_next_attempt,
                a_chunk_stands_once_and_none_is_left_out,
                chunks_above_the_bounds_are_refused,
                an_attempt_that_is_over_tells_nothing,
                a_reader_of_an_ended_job_is_told_how_it_ended,
            }
            charges {
                a_job_waits_for_its_limit_and_holds_nobody_else_up,
                a_slot_is_free_again_once_the_attempt_is_over,
                of_many_jobs_as_many_start_as_there_are_slots,
                what_was_not_used_comes_back,
                what_was_not_begun_costs_nothing,
                a_job_that_never_gets_what_it_charges_fails_and_says_why,
                charges_out_of_bounds_are_refused_with_the_field,
            }
            batches {
                jobs_of_a_batch_are_told_in_the_order_in_which_they_end,
                a_batch_runs_no_more_at_once_than_it_may,
                one_that_fails_ends_the_others_or_not,
                a_cancelled_batch_is_over_and_takes_no_more_in,
                a_batch_and_its_jobs_come_once,
                batches_out_of_bounds_are_refused,
            }
            joins {
                of_jobs_of_one_cache_key_one_runs_and_all_have_its_result,
                when_the_one_that_runs_fails_the_next_one_does,
                a_result_in_the_cache_ends_a_job_at_once,
            }
            endings {
                whoever_waits_is_told_how_it_ended,
                a_wait_in_vain_tells_what_the_job_is_at,
                a_cancelled_job_is_over_whether_it_runs_or_not,
                a_job_ends_once_whatever_comes_at_the_same_time,
                a_result_is_kept_for_its_time,
            }
            queues {
                a_paused_queue_starts_nothing_until_it_goes_on,
                a_queue_runs_no_more_at_once_than_it_may,
                jobs_of_one_concurrency_key_run_one_after_the_other,
                a_queue_tells_what_it_is_at,
                pages_of_jobs_are_complete_and_in_order,
                pages_of_queues_are_complete_and_in_order,
                many_jobs_pass_while_checkpoints_are_taken,
                waiting_jobs_are_purged_and_so_are_ended_ones,
                dead_jobs_are_requeued_and_not_dead_any_more,
            }
            bounds {
                what_is_out_of_bounds_is_refused_with_the_field,
                a_job_above_the_bounds_is_refused,
                a_queue_above_the_bound_is_refused,
                a_waiting_call_above_the_bound_is_refused,
            }
        }
    };
}

/// Makes a test of every case of the jobs suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh backend
/// under those settings.
/// The tests run on a paused Tokio runtime, unless other attributes are given.
#[macro_export]
macro_rules! jobs_conformance {
    ($subject:path) => {
        $crate::jobs_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__jobs_test, __jobs_tests};
        $crate::__jobs_cases!(__jobs_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __jobs_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__jobs_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __jobs_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::jobs::Settings::default()).await;
            $crate::run(make, $crate::jobs::cases::$case).await;
        }
    };
}
