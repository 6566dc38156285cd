//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __locks_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            holding {
                a_free_lock_is_granted_with_a_token_and_its_time,
                a_held_lock_is_refused_with_the_time_and_the_place,
                shared_holds_go_together_and_keep_others_out,
                shared_holders_have_one_token_and_the_next_writer_a_higher_one,
                several_locks_are_taken_all_or_none,
                one_release_frees_all_locks_of_a_lease,
                tokens_rise_with_every_grant_however_the_last_one_ended,
                namespaces_do_not_see_each_other,
            }
            leases {
                a_lease_stands_to_its_deadline_and_not_longer,
                a_lease_that_is_kept_alive_stands,
                a_release_may_be_repeated_and_ends_nobody_elses_lease,
                a_released_lease_is_not_kept_alive,
                a_lease_that_has_expired_is_lost_and_its_holder_changes_nothing,
                a_lease_that_nobody_made_is_not_found,
                a_lease_with_another_secret_is_not_found,
                an_ended_lease_is_forgotten_after_the_window,
            }
            waiting {
                the_first_to_come_is_the_first_to_be_let_in,
                a_try_never_passes_a_waiting_call,
                readers_do_not_pass_a_waiting_writer,
                readers_behind_a_writer_come_in_together,
                a_writer_is_not_starved_by_readers_that_keep_coming,
                a_reader_is_not_starved_by_writers_that_keep_coming,
                a_call_for_several_locks_waits_for_all_and_holds_none,
                calls_that_want_the_same_locks_crosswise_do_not_block_each_other,
                a_wait_ends_at_its_time_with_its_place,
                a_wait_of_no_time_ends_at_once,
                a_wait_in_vain_lets_those_behind_it_in,
                a_cancelled_wait_leaves_no_trace,
                a_cancelled_wait_lets_those_behind_it_in_at_once,
                a_grant_that_nobody_received_does_not_outlive_its_lease,
                the_next_in_line_is_let_in_when_the_holder_goes_silent,
            }
            requests {
                a_repeated_acquire_gets_the_first_lease,
                a_repeated_refusal_stays_one,
                a_repeat_of_a_waiting_call_joins_it,
                a_joined_call_goes_on_without_one_of_its_callers,
                a_repeat_of_a_grant_that_has_ended_is_lost,
                an_id_with_another_body_is_refused,
                an_id_belongs_to_its_namespace_and_method,
                an_id_is_forgotten_after_its_window,
                a_repeated_force_release_is_done_once,
            }
            sessions {
                the_leases_of_a_session_stand_while_it_is_kept_alive,
                a_closed_session_releases_everything_at_once,
                a_closed_session_is_over,
                a_broken_stream_keeps_its_leases_until_the_deadline,
                a_broken_stream_that_asked_for_it_releases_at_once,
                a_broken_stream_takes_its_waiting_calls_with_it,
                a_session_is_attached_again_and_knows_what_it_holds,
                attaching_keeps_a_session_alive,
                attaching_voids_the_attachment_before,
                a_session_that_is_not_kept_alive_is_told_what_it_lost,
                a_session_that_has_expired_cannot_be_attached,
                a_session_that_expires_while_it_waits_is_never_let_in,
                a_lease_of_a_session_is_released_alone,
                a_lease_of_a_session_is_not_kept_alive_alone,
                a_session_waits_for_what_it_holds_itself,
                a_waiting_call_of_a_session_is_told_its_place,
                a_session_that_nobody_made_is_not_found,
            }
            operators {
                a_forced_release_ends_the_lease_and_tells_its_session,
                a_forced_release_under_another_token_does_nothing,
                a_forced_release_ends_all_that_share_the_lock,
            }
            looking {
                a_look_shows_who_holds_and_who_waits,
                a_free_lock_is_shown_as_free,
                pages_of_locks_are_complete_and_in_order,
                a_watch_tells_the_state_now_and_after_each_change,
                a_slow_watch_misses_states_and_never_the_last,
                a_token_is_current_while_its_lease_stands,
            }
            bounds {
                a_lock_above_the_bound_is_refused,
                a_lease_above_the_bound_is_refused,
                a_waiting_call_above_the_bound_is_refused,
                a_request_id_above_the_bound_is_refused_and_none_is_forgotten_early,
                a_watch_above_the_bound_is_refused,
                a_namespace_above_the_bound_is_refused,
            }
            races {
                what_is_counted_under_a_lock_is_never_counted_twice,
                a_late_holder_never_writes_over_a_newer_one,
                every_waiting_call_of_many_is_let_in,
            }
        }
    };
}

/// Makes a test of every case of the locks suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh backend
/// under those settings.
/// The tests run on a paused Tokio runtime, unless other attributes are given.
#[macro_export]
macro_rules! locks_conformance {
    ($subject:path) => {
        $crate::locks_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__locks_test, __locks_tests};
        $crate::__locks_cases!(__locks_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __locks_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__locks_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __locks_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::locks::Settings::default()).await;
            $crate::run(make, $crate::locks::cases::$case).await;
        }
    };
}
