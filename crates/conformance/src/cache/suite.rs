//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __cache_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            entries {
                a_value_is_found_until_its_ttl_is_over,
                an_answer_tells_all_about_its_entry,
                an_empty_value_is_a_hit,
                a_negative_entry_is_a_hit_without_a_value,
                a_set_replaces_and_its_version_rises,
                a_deleted_entry_is_gone,
                keys_are_answered_in_request_order,
                jitter_shortens_a_ttl_within_its_bound,
                a_stale_entry_is_served_only_where_allowed_and_in_its_time,
                a_deleted_entry_is_not_served_stale,
                namespaces_do_not_see_each_other,
                the_ledger_counts_what_was_served_and_saved,
            }
            conditions {
                a_set_if_absent_is_made_once,
                a_set_under_a_version_needs_that_version,
                a_delete_under_a_version_needs_that_version,
                a_write_that_fails_its_condition_leaves_a_lease_alone,
            }
            fences {
                a_write_under_a_lock_that_was_granted_since_is_refused,
                a_refused_fill_leaves_its_lease_and_a_repeated_one_gets_its_answer,
                a_token_counts_as_seen_whatever_becomes_of_the_write,
                a_clear_forgets_no_token,
                locks_above_the_bound_are_forgotten_and_more_is_refused,
                a_namespace_with_tokens_is_not_dropped,
            }
            clears {
                a_cleared_tag_hides_its_entries_and_no_others,
                what_is_kept_after_a_clear_is_found,
                a_cleared_namespace_hides_every_entry_stale_ones_too,
                a_tag_cleared_while_filling_refuses_the_fill,
                another_tag_cleared_while_filling_does_not,
                a_namespace_cleared_while_filling_ends_its_leases,
                more_clears_than_are_remembered_hide_more_and_never_less,
            }
            flights {
                the_first_to_ask_computes_and_the_others_wait,
                who_does_not_wait_is_told_that_the_key_is_busy,
                a_request_for_many_keys_gets_each_its_own_answer,
                a_value_that_is_not_kept_goes_to_those_who_wait,
                a_negative_result_goes_to_all_who_wait_and_is_kept,
                a_repeated_fill_gets_the_first_answer,
                a_deleted_key_refuses_the_fill_and_restarts_its_line,
                a_set_ends_a_lease_and_serves_its_line,
                an_unknown_lease_is_told_so,
            }
            takeovers {
                a_holder_that_gives_up_is_followed_by_the_first_in_line,
                a_lease_given_up_with_nobody_in_line_is_free,
                a_lease_that_is_not_renewed_ends,
                a_lease_lives_to_the_end_of_its_ttl,
                a_renewed_lease_lives_on_until_its_deadline,
                the_line_is_served_in_order_of_arrival,
                a_call_that_leaves_the_line_is_passed_over,
                a_lease_that_nobody_received_goes_to_the_next,
                abandoned_leases_are_given_up,
            }
            parts {
                parts_come_in_order_and_end_with_the_whole_value,
                who_comes_late_gets_what_came_before,
                a_takeover_restarts_the_value,
                a_part_that_came_already_is_not_taken_twice,
                a_part_after_a_gap_is_refused_with_the_field,
                a_slow_reader_does_not_slow_the_filler,
                a_large_value_arrives_whole,
                a_value_in_parts_cannot_end_as_none,
            }
            failures {
                a_failure_is_told_to_all_who_wait,
                a_repeated_failure_changes_nothing_more,
                a_remembered_failure_is_told_until_its_time_is_over,
                a_write_ends_a_remembered_failure,
                above_the_bound_failures_are_told_and_not_remembered,
                a_stale_entry_is_served_when_the_computation_fails,
            }
            refreshes {
                a_stale_entry_is_served_while_one_caller_computes,
                a_failed_refresh_is_not_tried_again_while_it_is_remembered,
                an_entry_is_computed_anew_before_it_expires,
                a_refresh_computes_what_is_fresh,
            }
            bounds {
                a_value_above_the_bound_is_refused_with_the_field,
                unfinished_values_above_the_bound_are_refused,
                a_lease_above_the_bound_is_refused,
                a_waiting_call_above_the_bound_is_refused,
                a_namespace_above_the_bound_is_refused_while_none_is_empty,
            }
            races {
                twenty_equal_calls_compute_once,
                overlapping_batches_compute_every_key_once_in_any_order,
                concurrent_sets_under_one_version_are_won_by_one,
                deletes_that_race_fills_never_leave_an_older_value,
            }
        }
    };
}

/// Makes a test of every case of the cache suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh backend
/// under those settings. The tests run on a paused Tokio runtime, unless other attributes are given:
///
/// ```text
/// cache_conformance!(memory);
/// cache_conformance!(redis, #[tokio::test]);
/// ```
#[macro_export]
macro_rules! cache_conformance {
    ($subject:path) => {
        $crate::cache_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__cache_test, __cache_tests};
        $crate::__cache_cases!(__cache_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cache_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__cache_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cache_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::cache::Settings::default()).await;
            $crate::run(make, $crate::cache::cases::$case).await;
        }
    };
}
