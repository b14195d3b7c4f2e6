//! Networks in CIDR notation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::arguments::{Arguments, FunctionError, Result, check_count, string_list};
use crate::config::number::Number;
use crate::config::value::Value;

/// A network: its address as a number, the length of its prefix, and of an address.
#[derive(Clone, Copy)]
struct Network {
    base: u128,
    prefix: u32,
    bits: u32,
}

impl Network {
    fn parse(arguments: &Arguments<'_>, index: usize) -> Result<Self> {
        let text = arguments.string(index)?;
        let wrong = || {
            FunctionError::at(index, format!("`{text}` is no network"))
                .help("write an address and a prefix length, as in 10.20.0.0/16")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        let (base, bits) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        if prefix > bits {
            return Err(wrong());
        }
        let hosts = bits - prefix;
        // All host bits are cleared; shifting by all 128 bits is no shift in Rust.
        let base = if hosts >= 128 { 0 } else { (base >> hosts) << hosts };
        Ok(Self { base, prefix, bits })
    }

    fn address(&self, value: u128) -> String {
        match u32::try_from(value) {
            Ok(value) if self.bits == 32 => Ipv4Addr::from_bits(value).to_string(),
            _ => Ipv6Addr::from_bits(value).to_string(),
        }
    }

    /// The subnet that many bits longer, with that number.
    fn subnet(&self, more: i64, number: i128) -> Result<Self> {
        let prefix = u32::try_from(more).ok().and_then(|more| self.prefix.checked_add(more));
        let prefix = prefix.filter(|prefix| *prefix <= self.bits).ok_or_else(|| {
            FunctionError::new(format!("a prefix of {} bits cannot be {more} bits longer", self.prefix))
        })?;
        let length = prefix - self.prefix;
        let number = u128::try_from(number).ok().filter(|number| length >= 128 || number >> length == 0);
        let number = number.ok_or_else(|| {
            FunctionError::new(format!("there is no such subnet: {length} bits do not hold its number"))
        })?;
        let shift = self.bits - prefix;
        let offset = if shift >= 128 { 0 } else { number << shift };
        Ok(Self { base: self.base | offset, prefix, bits: self.bits })
    }
}

fn whole(arguments: &Arguments<'_>, index: usize) -> Result<i128> {
    let number = arguments.number(index)?;
    Number::as_int(number)
        .ok_or_else(|| FunctionError::at(index, format!("expected a whole number, got {number}")))
}

pub(super) fn cidrhost(arguments: &Arguments<'_>) -> Result {
    let network = Network::parse(arguments, 0)?;
    let number = whole(arguments, 1)?;
    let hosts = network.bits - network.prefix;
    let size = 1u128.checked_shl(hosts);
    let fits = |number: u128| size.is_none_or(|size| number < size);
    let too_far =
        || FunctionError::at(1, format!("a prefix of {} bits holds no host number {number}", network.prefix));
    // A negative number counts from the network's end.
    let offset = if number < 0 {
        let back = number.unsigned_abs();
        match size {
            Some(size) => size.checked_sub(back).ok_or_else(too_far)?,
            None => 0u128.wrapping_sub(back),
        }
    } else {
        number.unsigned_abs()
    };
    if !fits(offset) {
        return Err(too_far());
    }
    Ok(Value::string(network.address(network.base | offset)))
}

pub(super) fn cidrnetmask(arguments: &Arguments<'_>) -> Result {
    let network = Network::parse(arguments, 0)?;
    if network.bits != 32 {
        return Err(FunctionError::at(0, "an IPv6 network has no netmask"));
    }
    let mask = u32::MAX.checked_shl(32 - network.prefix).unwrap_or(0);
    Ok(Value::string(Ipv4Addr::from_bits(mask).to_string()))
}

pub(super) fn cidrsubnet(arguments: &Arguments<'_>) -> Result {
    let network = Network::parse(arguments, 0)?;
    let subnet = network.subnet(arguments.int(1)?, whole(arguments, 2)?)?;
    Ok(Value::string(format!("{}/{}", subnet.address(subnet.base), subnet.prefix)))
}

pub(super) fn cidrsubnets(arguments: &Arguments<'_>) -> Result {
    let network = Network::parse(arguments, 0)?;
    check_count(arguments.len())?;
    let mut next = network.base;
    let mut full = false;
    let mut subnets: Vec<Arc<str>> = Vec::new();
    let end =
        1u128.checked_shl(network.bits - network.prefix).and_then(|size| network.base.checked_add(size));
    for index in 1..arguments.len() {
        let length = network.subnet(arguments.int(index)?, 0)?.prefix;
        let size = 1u128.checked_shl(network.bits - length);
        let none_left = || FunctionError::at(index, "the network has no room left for this subnet");
        // Each subnet begins at the next multiple of its own size.
        let start = match size {
            Some(size) => next.checked_next_multiple_of(size).ok_or_else(none_left)?,
            None => next,
        };
        if full
            || end.is_some_and(|end| {
                size.is_none_or(|size| start.checked_add(size).is_none_or(|stop| stop > end))
            })
        {
            return Err(none_left());
        }
        let stop = size.and_then(|size| start.checked_add(size));
        full = stop.is_none();
        next = stop.unwrap_or(0);
        subnets.push(Arc::from(format!("{}/{length}", network.address(start))));
    }
    Ok(string_list(subnets))
}
