//! Windows guests.

mod firstboot;
