//! Tests of the room: its rules over a real folder, and calls over loopback.
