//! The scripts of locks: each operation over the parts of the library that it needs.

use crate::Script;
use std::sync::LazyLock;

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../scripts/locks/", $name, ".lua"))
    };
}

/// The parts stand in a function of their own: what a function that is made there uses of the call is found at once, and
/// not searched for among all that the script has named, which cost a tenth of the script. What stands before it answers
/// usual calls, for which its functions are then not made.
macro_rules! operation {
    ($constant:ident, [$($part:literal),*]) => {
        operation!($constant, [], [$($part),*]);
    };
    ($constant:ident, [$($first:literal),*], [$($part:literal),*]) => {
        pub(super) static $constant: LazyLock<Script> = LazyLock::new(|| {
            Script::guarded(concat!(
                lua!("call"),
                $(lua!($first),)*
                "local function body()\n",
                $(lua!($part),)*
                lua!("main"),
                "end\nreturn body()\n",
            ))
        });
    };
}

operation!(
    ACQUIRE,
    ["one", "acquire_one"],
    [
        "space", "requests", "ended", "table", "lease", "attached", "acquire"
    ]
);
operation!(
    RELEASE,
    ["one", "ended", "release_one"],
    ["requests", "table", "lease", "release"]
);
operation!(EXPIRE, ["requests", "ended", "table", "lease", "expire"]);
operation!(KEEP, ["requests", "ended", "table", "lease", "keep"]);
operation!(
    OPEN,
    [
        "space", "requests", "ended", "table", "lease", "attached", "session", "open"
    ]
);
operation!(
    SESSION,
    [
        "requests",
        "ended",
        "table",
        "lease",
        "attached",
        "session",
        "session_op"
    ]
);
operation!(
    FORCE,
    ["space", "requests", "ended", "table", "lease", "force"]
);
operation!(LOOK, ["requests", "ended", "table", "lease", "look"]);
operation!(
    END_WAITS,
    [
        "requests",
        "ended",
        "table",
        "lease",
        "attached",
        "session",
        "end_waits"
    ]
);
operation!(CLAIMS, ["claims"]);
operation!(
    INHERIT,
    [
        "requests", "ended", "table", "lease", "attached", "session", "inherit"
    ]
);
operation!(
    REASSERT,
    [
        "space", "requests", "ended", "table", "lease", "attached", "session", "reassert"
    ]
);
operation!(
    VERIFY,
    ["requests", "ended", "table", "lease", "attached", "verify"]
);
operation!(SERVE, ["requests", "ended", "table", "lease", "serve"]);
operation!(WATCH, ["space", "watch"]);
operation!(TELL_ENDS, ["tell_ends"]);
operation!(SWEEP, ["requests", "ended", "table", "sweep"]);

/// Ends the grace of a generation.
pub(super) static GRACE: LazyLock<Script> = LazyLock::new(|| Script::guarded(lua!("grace")));

/// The namespaces that have state.
pub(super) static NAMESPACES: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(include_str!("../../scripts/limits/namespaces.lua")));
