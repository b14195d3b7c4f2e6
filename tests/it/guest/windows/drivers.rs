//! Driver packages of Windows guests: setup information read as Wine's setupapi reads it, drivers
//! made by a compiler and signed by osslsigncode, archives packed by Python.

mod chosen;
pub mod packages;
pub mod programs;
mod setupapi;
