//! The dbus door.
