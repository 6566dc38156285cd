//! Numbers and texts as bytes, for what is logged: big-endian, a text behind its length.

/// Writes.
#[derive(Default)]
pub(crate) struct Put(pub Vec<u8>);

impl Put {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    pub fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn large(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub fn text(&mut self, text: &str) {
        // Texts are bounded far below.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn optional(&mut self, number: Option<u64>) {
        self.flag(number.is_some());
        self.number(number.unwrap_or(0));
    }
}

/// Reads; `None` for what is not there.
pub(crate) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.chunk().map(|[byte]| byte)
    }

    pub fn number(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_be_bytes)
    }

    pub fn large(&mut self) -> Option<u128> {
        self.chunk().map(u128::from_be_bytes)
    }

    pub fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_be_bytes(self.chunk()?);
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// Reads into `number`; `None` for what is not there.
    pub fn optional(&mut self, number: &mut Option<u64>) -> Option<()> {
        let there = self.flag()?;
        let read = self.number()?;
        *number = there.then_some(read);
        Some(())
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
