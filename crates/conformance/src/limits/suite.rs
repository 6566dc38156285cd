//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __limits_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            acquire {
                a_grant_takes_every_charge_and_tells_what_is_left,
                a_denied_call_is_not_charged,
                one_denied_charge_leaves_all_others_untaken,
                a_charge_above_the_capacity_is_never_granted,
                an_idle_rate_does_not_save_above_its_burst,
                a_rate_never_admits_more_than_its_burst_and_its_refill,
                a_denied_call_may_retry_at_the_told_time_and_not_before,
                the_time_to_retry_is_that_of_the_charge_that_takes_longest,
                every_key_has_a_bucket_of_its_own,
                two_charges_of_one_bucket_are_refused_with_the_field,
                a_dry_run_tells_the_outcome_and_changes_nothing,
                a_dry_run_is_not_remembered_under_its_request_id,
            }
            windows {
                a_window_is_never_over_in_any_interval,
                no_unit_comes_back_with_an_earlier_one,
                a_burst_in_a_window_comes_back_after_exactly_the_period,
                units_of_a_window_come_back_one_after_the_other,
                a_calendar_limit_opens_with_its_next_period,
                a_call_waits_for_the_next_calendar_period,
            }
            concurrency {
                slots_are_held_until_they_are_settled,
                slots_are_freed_when_their_reservation_ends,
                slots_are_held_for_the_default_time_when_none_is_asked_for,
                a_settle_frees_slots_whatever_amount_it_names,
                freed_slots_serve_a_waiting_call_at_once,
                expired_slots_serve_a_waiting_call,
                an_extension_keeps_slots_for_longer,
            }
            waiting {
                a_call_that_fits_does_not_wait,
                a_waiting_call_is_granted_when_its_charge_fits,
                nothing_is_charged_while_a_call_waits,
                a_call_that_waits_in_vain_is_told_its_position,
                a_wait_of_no_time_ends_at_once,
                the_first_to_come_is_the_first_to_be_served,
                a_try_never_passes_a_waiting_call,
                a_large_call_is_not_starved_by_small_ones,
                a_waiting_call_holds_its_other_limits_only_after_a_while,
                calls_that_want_the_same_limits_crosswise_do_not_block_each_other,
                interactive_calls_are_served_before_batch_calls,
                a_cancelled_call_leaves_no_trace,
                a_cancelled_call_lets_those_behind_it_pass_at_once,
                a_grant_that_nobody_received_ends_with_its_reservation_at_the_latest,
            }
            reservations {
                a_settle_refunds_what_was_not_used,
                a_settle_adds_what_is_missing_as_debt,
                a_refund_never_fills_above_the_capacity,
                a_refund_does_not_reach_into_another_window,
                a_full_refund_gives_every_charge_back,
                a_repeated_settle_gets_the_first_answer_and_refunds_once,
                another_settle_of_a_settled_reservation_is_refused,
                an_abandoned_reservation_keeps_its_charge,
                after_its_end_a_reservation_may_only_add,
                a_reservation_is_forgotten_after_the_settle_window,
                an_unknown_reservation_is_an_error,
                a_settle_of_a_bucket_that_was_not_charged_is_refused_with_the_field,
                an_extension_renews_and_takes_further_charges,
                an_extension_never_shortens,
                a_denied_extension_neither_renews_nor_charges,
                a_reservation_outlives_one_of_its_limits,
            }
            requests {
                a_repeated_acquire_gets_the_first_answer_and_is_charged_once,
                a_repeated_denial_stays_one_with_its_time_counted_anew,
                a_repeat_of_a_waiting_call_joins_it,
                a_repeat_waits_no_longer_than_it_says_and_the_call_goes_on,
                a_joined_call_goes_on_without_one_of_its_callers,
                an_id_with_another_body_is_refused,
                a_repeat_of_a_grant_that_has_ended_is_lost,
                an_id_belongs_to_its_namespace_and_method,
                an_error_is_not_remembered,
                an_id_is_forgotten_after_its_window,
                a_repeated_extension_is_charged_once,
                a_repeated_change_is_made_once,
            }
            definitions {
                a_declaration_tells_what_is_in_force_and_whether_it_is_new,
                a_changed_spec_keeps_refills_or_scales_the_level_as_asked,
                an_override_rules_its_key_alone,
                a_raised_limit_serves_waiting_calls_at_once,
                a_lowered_limit_ends_calls_that_it_can_never_admit,
                a_deleted_limit_ends_waiting_calls_and_is_forgotten,
                a_reset_fills_buckets_frees_slots_and_ends_pauses,
                a_reset_serves_waiting_calls_at_once,
                a_charge_that_a_reset_has_forgiven_is_not_refunded_again,
                a_charge_that_a_reset_has_let_in_is_refunded_like_any_other,
                a_throttled_bucket_admits_nothing_until_its_pause_is_over,
                a_waiting_call_sits_out_a_pause,
                a_shorter_pause_does_not_end_a_longer_one,
                what_the_provider_says_is_left_only_lowers_the_level,
            }
            fairness {
                keys_with_queues_of_different_lengths_are_served_by_turns,
                keys_are_served_in_proportion_to_their_weights,
                calls_without_a_key_are_one_key,
                units_count_and_not_calls,
                a_key_that_comes_late_begins_at_the_turn_that_is_on,
                calls_that_leave_the_line_are_not_counted_against_their_key,
                every_interactive_key_is_served_before_any_batch_key,
                a_large_call_is_not_starved_by_small_ones_of_other_keys,
                a_call_that_does_not_wait_passes_no_key,
                turns_are_taken_where_calls_lack_units_whatever_else_they_want,
                a_request_id_belongs_to_its_key_and_weight,
            }
            inline {
                an_inline_spec_makes_the_limit,
                a_report_brings_the_spec_of_a_limit_that_is_not_declared,
                an_unknown_limit_without_a_spec_is_an_error_that_takes_nothing,
                a_declaration_wins_over_an_inline_spec,
                a_declaration_takes_an_inline_limit_over,
                the_newest_inline_spec_applies_and_the_level_is_kept,
                require_spec_refuses_a_difference_and_takes_nothing,
            }
            listing {
                pages_of_limits_are_complete_and_in_order,
                a_page_of_limits_stays_valid_while_limits_come_and_go,
                pages_of_buckets_are_complete_and_in_order,
                a_bucket_that_is_idle_and_full_is_not_listed,
                the_buckets_of_an_unknown_limit_are_an_error,
                a_peek_shows_a_bucket_and_changes_nothing,
                namespaces_do_not_see_each_other,
            }
            bounds {
                a_call_above_the_bound_on_waiters_is_refused,
                a_limit_above_the_bound_is_refused,
                a_bucket_above_the_bound_is_refused_until_one_is_idle_and_full,
                a_reservation_above_the_bound_is_refused,
                a_request_id_above_the_bound_is_refused_and_none_is_forgotten_early,
                a_namespace_above_the_bound_is_refused,
            }
            races {
                concurrent_tries_of_many_sizes_never_exceed_the_limit,
                sixty_four_concurrent_waiters_are_all_served,
                concurrent_holders_never_exceed_the_slots,
                concurrent_settles_of_one_reservation_settle_it_once,
                concurrent_repeats_of_one_call_are_charged_once,
            }
        }
    };
}

/// Makes a test of every case of the limits suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh backend
/// under those settings.
/// The tests run on a paused Tokio runtime, unless other attributes are given:
///
/// ```text
/// limits_conformance!(memory);
/// limits_conformance!(redis, #[tokio::test]);
/// ```
#[macro_export]
macro_rules! limits_conformance {
    ($subject:path) => {
        $crate::limits_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__limits_test, __limits_tests};
        $crate::__limits_cases!(__limits_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __limits_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__limits_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __limits_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::limits::Settings::default()).await;
            $crate::run(make, $crate::limits::cases::$case).await;
        }
    };
}
