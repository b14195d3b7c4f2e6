//! LZO1X, after the kernel's description of the format (Documentation/staging/lzo.rst).
//!
//! Written here because the crates at hand panic or grow without bound on damaged input.

/// Unpacks one block to exactly `length` bytes; `None` when it is damaged or gives another length.
#[must_use]
pub fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut input = Input { bytes: packed, position: 0 };
    let mut output = Output { bytes: Vec::with_capacity(length), length };
    // How many literals the last instruction copied, 4 standing for "a long run".
    let mut state = 0;
    match *packed.first()? {
        first @ 18..=21 => {
            input.position = 1;
            state = usize::from(first - 17);
            output.literals(&mut input, state)?;
        }
        first @ 22.. => {
            input.position = 1;
            output.literals(&mut input, usize::from(first - 17))?;
            state = 4;
        }
        _ => {}
    }
    loop {
        let instruction = usize::from(input.byte()?);
        let (copy, distance, literals) = match instruction {
            64.. => {
                let high = usize::from(input.byte()?);
                let copy = (instruction >> 5) + 1;
                (copy, (high << 3) + ((instruction >> 2) & 7) + 1, instruction & 3)
            }
            32..=63 => {
                let copy = 2 + input.length(instruction & 31, 31)?;
                let low = input.word()?;
                (copy, (low >> 2) + 1, low & 3)
            }
            16..=31 => {
                let copy = 2 + input.length(instruction & 7, 7)?;
                let low = input.word()?;
                let distance = 16_384 + ((instruction & 8) << 11) + (low >> 2);
                if distance == 16_384 {
                    return (output.bytes.len() == length).then_some(output.bytes);
                }
                (copy, distance, low & 3)
            }
            _ if state == 0 => {
                let run = 3 + input.length(instruction, 15)?;
                output.literals(&mut input, run)?;
                state = 4;
                continue;
            }
            _ => {
                let high = usize::from(input.byte()?) << 2;
                let near = high + (instruction >> 2);
                let (copy, distance) = if state == 4 { (3, near + 2049) } else { (2, near + 1) };
                (copy, distance, instruction & 3)
            }
        };
        output.copy(copy, distance)?;
        output.literals(&mut input, literals)?;
        state = literals;
    }
}

struct Input<'b> {
    bytes: &'b [u8],
    position: usize,
}

impl<'b> Input<'b> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])))
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let end = self.position.checked_add(count)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    /// A length whose small form is in the instruction; zero there means that bytes follow, each
    /// zero adding 255, the first other one ending it.
    fn length(&mut self, small: usize, base: usize) -> Option<usize> {
        if small != 0 {
            return Some(small);
        }
        let mut length = base;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                last => return length.checked_add(usize::from(last)),
            }
        }
    }
}

struct Output {
    bytes: Vec<u8>,
    length: usize,
}

impl Output {
    fn room(&self, count: usize) -> Option<()> {
        (count <= self.length - self.bytes.len()).then_some(())
    }

    fn literals(&mut self, input: &mut Input<'_>, count: usize) -> Option<()> {
        self.room(count)?;
        self.bytes.extend_from_slice(input.take(count)?);
        Some(())
    }

    fn copy(&mut self, count: usize, distance: usize) -> Option<()> {
        self.room(count)?;
        let start = self.bytes.len().checked_sub(distance)?;
        for position in start..start + count {
            self.bytes.push(self.bytes[position]);
        }
        Some(())
    }
}
