//! The list of cases, and the one line by which a backend runs them all.

/// Hands every case, by theme, to the macro `$then`, after `$context`.
///
/// The only place that lists cases: tests, names and exports are made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __pipelines_cases {
    ($then:ident, $context:tt) => {
        $then! { $context
            values {
                the_built_in_pipelines_exist_with_their_defaults,
                an_update_changes_what_it_names_and_nothing_else,
                a_refused_update_leaves_the_last_good_values,
                a_value_that_is_dropped_is_what_it_was_without_updates,
                a_kind_that_is_replaced_holds_only_what_was_given,
                a_pipeline_is_made_only_where_that_is_asked_for,
                a_reset_forgets_every_update,
                a_pipeline_of_updates_alone_is_gone_when_it_is_reset,
                namespaces_do_not_see_each_others_updates,
            }
            versions {
                versions_rise_with_every_change_and_never_come_again,
                an_update_based_on_another_version_is_refused,
                a_reset_based_on_another_version_is_refused,
                of_updates_based_on_one_version_exactly_one_wins,
                a_repeated_update_or_reset_changes_nothing,
            }
            looking {
                pages_of_pipelines_are_complete_and_in_order,
                a_watch_tells_the_pipeline_now_and_after_each_change,
                a_watch_waits_for_a_pipeline_that_does_not_exist_yet,
                a_slow_watch_misses_states_and_never_the_last,
            }
            bounds {
                a_pipeline_above_the_bound_is_refused,
                a_step_above_the_bound_is_refused,
                a_namespace_above_the_bound_is_refused,
            }
            obedience {
                a_limit_of_a_pipeline_exists_when_it_is_named,
                a_step_without_a_limit_has_none,
                an_update_changes_the_limit_in_use,
                an_update_keeps_the_level_unless_told_otherwise,
                of_racing_updates_the_last_one_is_the_limit,
                a_limit_of_a_pipeline_that_is_gone_is_deleted,
                a_limit_set_by_hand_holds_until_its_setting_changes,
                a_limit_that_was_deleted_comes_back_when_it_is_named,
                slots_of_a_pipeline_are_held_and_retuned,
            }
        }
    };
}

/// Makes a test of every case of the pipelines suite.
///
/// `$subject` is a function from `Settings` to a `Subject`, `async` or not, that makes a fresh backend
/// under those settings. The tests run on a paused Tokio runtime, unless other attributes are given:
///
/// ```text
/// pipelines_conformance!(memory);
/// pipelines_conformance!(redis, #[tokio::test]);
/// ```
#[macro_export]
macro_rules! pipelines_conformance {
    ($subject:path) => {
        $crate::pipelines_conformance!($subject, #[tokio::test(start_paused = true)]);
    };
    ($subject:path, $(#[$attribute:meta])+) => {
        use $crate::{__pipelines_test, __pipelines_tests};
        $crate::__pipelines_cases!(__pipelines_tests, ($subject, [$(#[$attribute])+]));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __pipelines_tests {
    ($context:tt $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $($(__pipelines_test! { $context $case })+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __pipelines_test {
    (($subject:path, [$(#[$attribute:meta])+]) $case:ident) => {
        $(#[$attribute])+
        async fn $case() {
            let make = async || $subject($crate::pipelines::Settings::default()).await;
            $crate::run(make, $crate::pipelines::cases::$case).await;
        }
    };
}
