//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __events_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            publishing {
                events_of_one_task_stand_in_the_order_of_its_calls,
                an_answer_tells_the_place_and_where_to_go_on,
                an_event_is_told_as_it_was_published,
                a_publish_whose_caller_has_gone_may_be_repeated,
                topics_and_namespaces_do_not_see_each_other,
                what_many_publish_is_told_to_all_in_one_order,
            }
            ids {
                a_repeat_is_answered_with_the_first_place_and_stands_once,
                repeats_at_the_same_time_stand_once,
                repeats_under_way_stand_once,
                the_same_id_of_another_source_or_topic_is_another_event,
                an_id_is_forgotten_after_its_window,
                an_id_above_the_bound_is_refused_and_none_is_forgotten_early,
                events_without_an_id_are_never_taken_for_repeats,
            }
            starts {
                from_the_earliest_everything_is_told,
                from_the_latest_only_what_comes_is_told,
                from_a_cursor_what_stands_behind_it_is_told,
                from_a_time_on_everything_is_told_that_was_taken_in_since,
                a_time_that_lies_in_the_future_is_refused,
                a_reader_goes_on_from_its_position,
                a_cursor_of_another_history_is_told_as_a_gap_and_never_misread,
                a_cursor_beyond_the_end_is_told_as_a_lost_tail,
                a_cursor_behind_another_writers_record_is_told_as_a_lost_tail,
            }
            reading {
                what_comes_is_told_to_those_who_wait,
                caught_up_is_told_once_and_again_after_falling_behind,
                a_slow_reader_slows_nobody_and_misses_nothing,
                only_what_the_filter_wants_is_told,
                the_position_moves_over_what_is_filtered_out,
                no_more_is_told_than_there_is_room_for,
                room_in_bytes_holds_and_one_event_is_told_however_large,
                a_call_that_is_given_up_loses_nothing,
            }
            retention {
                the_newest_are_kept_and_the_oldest_dropped,
                what_is_too_old_is_dropped_without_anything_coming,
                a_cursor_behind_which_something_was_dropped_is_told_of_the_gap,
                a_reader_whom_the_start_overtakes_is_told_of_the_gap,
                a_cursor_behind_which_nothing_was_dropped_goes_on,
                a_group_goes_on_behind_what_was_dropped,
            }
            topics {
                a_topic_that_nothing_was_published_to_is_empty,
                a_topic_tells_what_it_holds,
                pages_of_topics_are_complete_and_in_order,
                what_a_topic_keeps_can_be_set_and_unset,
            }
            groups {
                a_group_begins_where_it_is_told_and_only_once,
                a_group_is_made_with_the_defaults_and_can_be_set,
                what_is_set_holds_from_the_next_delivery_on,
                a_group_that_nobody_made_is_not_found,
                a_group_that_is_deleted_is_forgotten_and_tells_who_waits,
                pages_of_groups_are_complete_and_in_order,
                a_group_tells_what_it_is_at,
                a_group_settles_past_what_others_publish_beside_it,
            }
            dealing {
                each_event_goes_to_one_member,
                groups_do_not_take_from_each_other,
                a_member_waits_for_what_comes,
                a_wait_in_vain_ends_at_its_time,
                a_call_that_was_given_up_takes_nothing,
                no_more_is_dealt_out_than_there_is_room_for,
                what_is_acknowledged_does_not_come_again_and_moves_the_floor,
                an_event_whose_lease_ends_comes_again,
                a_late_acknowledgement_counts_until_somebody_else_has_the_event,
                a_lease_that_is_extended_stands,
                an_event_that_is_refused_comes_again_after_the_delay,
                without_a_delay_an_event_waits_longer_each_time,
                those_who_wait_are_served_in_the_order_of_their_coming,
                events_of_one_key_come_one_after_the_other_if_the_group_is_ordered,
                a_group_that_lags_far_behind_gets_everything,
            }
            letters {
                an_event_is_dead_after_its_attempts,
                leases_that_end_count_as_attempts,
                a_rejected_event_is_dead_at_once,
                dead_letters_are_told_in_pages,
                replayed_dead_letters_come_again_with_their_attempts_counted_anew,
            }
            bounds {
                a_topic_above_the_bound_is_refused,
                a_group_above_the_bound_is_refused,
                a_waiting_call_above_the_bound_is_refused,
                a_group_takes_in_no_more_than_its_bound_until_something_is_settled,
            }
        }
    };
}

/// Makes a test of every case of the events suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh backend
/// under those settings.
/// The tests run on a paused Tokio runtime, unless other attributes are given.
#[macro_export]
macro_rules! events_conformance {
    ($subject:path) => {
        $crate::events_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__events_test, __events_tests};
        $crate::__events_cases!(__events_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __events_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__events_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __events_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::events::Settings::default()).await;
            $crate::run(make, $crate::events::cases::$case).await;
        }
    };
}
