//! Bytes that change: told, never passed over and never misread.
