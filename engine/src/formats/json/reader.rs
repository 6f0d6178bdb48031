//! JSON (RFC 8259) from left to right, without a tree: values are taken, skipped or cut out as
//! they stand.

/// Containers within containers, beyond which a value is refused: what is deeper is no data.
const DEPTH_MAX: usize = 128;

/// Where the text stops being JSON, and what should stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: usize,
    pub reason: &'static str,
}

pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// What a value begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

/// A string as it stands, and whether escapes are in it.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    pub text: &'a str,
    pub escaped: bool,
}

/// A number as it stands, and its value if it is whole and fits.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    pub text: &'a str,
    pub integer: Option<i64>,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub fn error(&self, reason: &'static str) -> SyntaxError {
        let reason = if self.at >= self.text.len() { "it ends in the middle" } else { reason };
        SyntaxError { at: self.at, reason }
    }

    #[inline]
    pub fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// What comes next, after blanks.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, SyntaxError> {
        self.skip_blanks();
        Ok(match self.byte() {
            Some(b'"') => Kind::String,
            Some(b'0'..=b'9' | b'-') => Kind::Number,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'n') => Kind::Null,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            _ => return Err(self.error("a value is expected")),
        })
    }

    /// Past a byte that was seen to be there.
    fn bump(&mut self) {
        self.at += 1;
    }

    /// Past `{` or `[`; whether something stands within.
    pub fn open(&mut self, close: u8) -> bool {
        self.bump();
        self.skip_blanks();
        let empty = self.byte() == Some(close);
        self.at += usize::from(empty);
        !empty
    }

    /// After a value in a container: whether another one follows.
    #[inline]
    pub fn next(&mut self, close: u8) -> Result<bool, SyntaxError> {
        self.skip_blanks();
        match self.byte() {
            Some(b',') => {
                self.bump();
                self.skip_blanks();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.bump();
                Ok(false)
            }
            _ if close == b'}' => Err(self.error("',' or '}' is expected")),
            _ => Err(self.error("',' or ']' is expected")),
        }
    }

    /// A name and the colon after it.
    #[inline]
    pub fn name(&mut self) -> Result<Quoted<'a>, SyntaxError> {
        if self.byte() != Some(b'"') {
            return Err(self.error("a name in quotes is expected"));
        }
        let name = self.string()?;
        self.skip_blanks();
        if self.byte() != Some(b':') {
            return Err(self.error("':' is expected"));
        }
        self.bump();
        Ok(name)
    }

    /// The string that begins here.
    #[inline]
    pub fn string(&mut self) -> Result<Quoted<'a>, SyntaxError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain_len(&bytes[at.min(bytes.len())..]);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => {
                    self.at = at;
                    return Err(self.error("a control character stands unescaped in a string"));
                }
                None => {
                    self.at = bytes.len();
                    return Err(self.error("the closing quote is missing"));
                }
            }
        }
        self.at = at + 1;
        Ok(Quoted { text: &self.text[start..at], escaped })
    }

    #[inline]
    pub fn number(&mut self) -> Result<Number<'a>, SyntaxError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let negative = bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let digits = self.at;
        let mut value: i64 = 0;
        while let Some(digit @ b'0'..=b'9') = bytes.get(self.at) {
            // Too many digits are found out by their count.
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let count = self.at - digits;
        if count == 0 {
            return Err(self.error("a digit is expected"));
        }
        if count > 1 && bytes[digits] == b'0' {
            return Err(SyntaxError { at: digits, reason: "a number begins with 0" });
        }
        let whole = !matches!(bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        if !whole {
            self.fraction()?;
        }
        let text = &self.text[start..self.at];
        let integer = match (whole, count) {
            (true, ..=18) => Some(if negative { -value } else { value }),
            (true, 19) => text.parse().ok(),
            _ => None,
        };
        Ok(Number { text, integer })
    }

    fn fraction(&mut self) -> Result<(), SyntaxError> {
        if self.byte() == Some(b'.') {
            self.bump();
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.bump();
            if let Some(b'+' | b'-') = self.byte() {
                self.bump();
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.bump();
        }
        if self.at == start { Err(self.error("a digit is expected")) } else { Ok(()) }
    }

    #[inline]
    pub fn literal(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.error("a value is expected"))
        }
    }

    /// Past the next value, which is looked at only as far as JSON is concerned.
    pub fn skip(&mut self) -> Result<(), SyntaxError> {
        // Which containers are open, innermost last, as bits: 1 for an object.
        let mut open: u128 = 0;
        let mut depth = 0;
        loop {
            match self.kind()? {
                Kind::String => drop(self.string()?),
                Kind::Number => drop(self.number()?),
                Kind::True => self.literal("true")?,
                Kind::False => self.literal("false")?,
                Kind::Null => self.literal("null")?,
                kind @ (Kind::Object | Kind::Array) => {
                    if depth == DEPTH_MAX {
                        return Err(self.error("it is nested too deeply"));
                    }
                    let is_object = kind == Kind::Object;
                    if self.open(if is_object { b'}' } else { b']' }) {
                        open = (open << 1) | u128::from(is_object);
                        depth += 1;
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                }
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = open & 1 == 1;
                if self.next(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.name()?;
                    }
                    break;
                }
                open >>= 1;
                depth -= 1;
            }
        }
    }

    /// The next value as it stands.
    pub fn raw(&mut self) -> Result<&'a str, SyntaxError> {
        self.skip_blanks();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }
}

/// How many bytes of a string stand for themselves.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_ne_bytes(*eight);
        let quotes = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslashes = has_zero(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        if quotes | backslashes | controls != 0 {
            break;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\') || *byte < 0x20;
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}

/// What an escaped string says, put into `out`.
pub fn unescape(quoted: &str, out: &mut String) -> Result<(), &'static str> {
    out.clear();
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).ok_or("an escape without its letter")?;
        let mut len = 2;
        match escape {
            b'"' | b'\\' | b'/' => out.push(char::from(*escape)),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let (character, more) = unicode(&rest.as_bytes()[at + 2..])?;
                out.push(character);
                len += more;
            }
            _ => return Err("an unknown escape"),
        }
        rest = rest.get(at + len..).ok_or("an unknown escape")?;
    }
    out.push_str(rest);
    Ok(())
}

/// The character of the digits after `\u`, and how long they are.
fn unicode(digits: &[u8]) -> Result<(char, usize), &'static str> {
    let first = hex(digits)?;
    if !(0xd800..0xe000).contains(&first) {
        return Ok((char::from_u32(first).ok_or("an unknown character")?, 4));
    }
    let second = match digits.get(4..6) {
        Some(b"\\u") => hex(&digits[6..])?,
        _ => return Err("half of a surrogate pair"),
    };
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return Err("half of a surrogate pair");
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(code).ok_or("an unknown character")?, 10))
}

fn hex(digits: &[u8]) -> Result<u32, &'static str> {
    let digits = digits.get(..4).ok_or("four hexadecimal digits are missing")?;
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or("four hexadecimal digits are missing")?;
        Ok(value * 16 + digit)
    })
}
