//! The D-Bus door from outside: the real daemon on a real bus, called by real clients.

mod access;
mod calls;
mod client;
mod contract;
mod graph;
mod heat;
mod installs;
mod jobs;
mod others;
mod peers;
mod polkit;
mod talker;
mod talks;
mod texts;
mod top;
