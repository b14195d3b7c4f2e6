//! Exports of real NBD servers (qemu-nbd, nbdkit) as images, beside other people's clients.

mod bitmap;
mod contents;
mod failures;
mod server;
