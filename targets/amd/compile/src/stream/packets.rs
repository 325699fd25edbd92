//! Packets of PM4 command streams, from meaning to words.
//!
//! In: a [`Packet`]. Out: its words at the end of a [`Words`], and a [`Fixup`] for each field whose value is not in the program
//! text: filled in at once (class constant), when the stream is loaded (link), or before a run (run).
//!
//! Example: `Packet::PartialFlush` is `C000_4600 0000_0407`.

use tinyc_runtime::patch::{Patch, Place, UNPATCHED};

/// When a field gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// By the compiler: resource words, grids, numbers of launches.
    Constant,
    /// When memory is there: addresses of the artifact's own parts.
    Link,
    /// Before a run: the caller's tensors, timeline values.
    Run,
}

/// A field whose value depends on a symbol; see [`tinyc_runtime::patch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// When.
    pub class: Class,
    /// Which symbol. Those of class constant have none: their value is the addend.
    pub symbol: u32,
    /// Added.
    pub addend: i64,
    /// The sum is shifted right by so much.
    pub shift: u8,
    /// Bytes: 4 or 8.
    pub width: u8,
}

/// A place where a field's value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixup {
    /// When.
    pub class: Class,
    /// Where and how.
    pub patch: Patch,
}

/// One or two words of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// One word that is always this.
    Fixed(u32),
    /// One or two words that are filled in.
    Field(Field),
}

impl Value {
    /// A word that the compiler fills in.
    pub fn constant(value: u32) -> Value {
        Value::Field(Field {
            class: Class::Constant,
            symbol: 0,
            addend: i64::from(value),
            shift: 0,
            width: 4,
        })
    }

    /// The address `symbol + addend`, in two words, known when the stream is loaded.
    pub fn address(symbol: u32, addend: u64) -> Value {
        Value::Field(Field {
            class: Class::Link,
            symbol,
            addend: addend.cast_signed(),
            shift: 0,
            width: 8,
        })
    }

    /// A word with the value of a symbol.
    pub fn symbol(class: Class, symbol: u32) -> Value {
        Value::Field(Field {
            class,
            symbol,
            addend: 0,
            shift: 0,
            width: 4,
        })
    }

    /// How many words.
    pub fn words(&self) -> usize {
        match self {
            Value::Fixed(_) => 1,
            Value::Field(field) => usize::from(field.width) / 4,
        }
    }
}

/// Words of a section that is being written, and its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Words so far.
    pub words: Vec<u32>,
    /// Fields in them, by ascending offset.
    pub fixups: Vec<Fixup>,
}

impl Words {
    /// Appends a value of a section.
    pub fn value(&mut self, place: Place, value: Value) {
        let field = match value {
            Value::Fixed(word) => return self.words.push(word),
            Value::Field(field) => field,
        };
        self.fixups.push(Fixup {
            class: field.class,
            patch: Patch {
                place,
                symbol: field.symbol,
                offset: self.words.len() as u64 * 4,
                addend: field.addend,
                mask: u64::MAX >> (64 - u32::from(field.width) * 8),
                width: field.width,
                shift: field.shift,
                lsb: 0,
            },
        });
        let count = value.words();
        self.words.extend(std::iter::repeat_n(UNPATCHED, count));
    }

    /// Appends a packet of the command stream.
    pub fn packet(&mut self, packet: &Packet) {
        let (op, body) = packet.encode();
        let count: usize = body.iter().map(Value::words).sum();
        self.words
            .push(3 << 30 | (count as u32 - 1) << 16 | op << 8);
        for value in body {
            self.value(Place::Stream, value);
        }
    }
}

/// What a release stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Nothing.
    Nothing,
    /// One word to an address.
    Word(Value, Value),
    /// 64 bits to an address, the upper half zero.
    Wide(Value, Value),
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Registers of the shader engine from an offset on.
    SetSh(u32, Vec<Value>),
    /// Words to memory.
    Write(Value, Vec<Value>),
    /// Waits until the word at an address is at least a value.
    WaitAtLeast(Value, Value),
    /// Flushes what the host wrote: a register that asks, one that answers.
    FlushHost(u32, u32),
    /// Caches forget, over all of memory. The generation wrote the words.
    Acquire(Vec<u32>),
    /// After all before: caches are written back as the generation's bits say, then a store, then an interrupt with a number.
    Release(u32, Store, Option<Value>),
    /// Starts a kernel: work-groups, initiator.
    Dispatch([Value; 3], u32),
    /// Waits until all kernels before have ended.
    PartialFlush,
}

/// Opcodes.
mod op {
    pub const DISPATCH_DIRECT: u32 = 0x15;
    pub const WRITE_DATA: u32 = 0x37;
    pub const WAIT_REG_MEM: u32 = 0x3C;
    pub const EVENT_WRITE: u32 = 0x46;
    pub const RELEASE_MEM: u32 = 0x49;
    pub const ACQUIRE_MEM: u32 = 0x58;
    pub const SET_SH_REG: u32 = 0x76;
}

/// Polling interval of waits, in clocks of 16.
const POLL: u32 = 4;

impl Packet {
    /// Opcode and body.
    fn encode(&self) -> (u32, Vec<Value>) {
        use Value::Fixed;
        match self {
            Packet::SetSh(offset, values) => {
                let mut body = vec![Fixed(*offset)];
                body.extend(values);
                (op::SET_SH_REG, body)
            }
            // Destination 5 is memory.
            Packet::Write(to, data) => {
                let mut body = vec![Fixed(5 << 8), *to];
                body.extend(data);
                (op::WRITE_DATA, body)
            }
            // Function 5 is "at least", space 1 is memory; 32 bits are compared.
            Packet::WaitAtLeast(at, value) => {
                let control = Fixed(5 | 1 << 4);
                let body = vec![control, *at, *value, Fixed(u32::MAX), Fixed(POLL)];
                (op::WAIT_REG_MEM, body)
            }
            // Function 3 is "equal", operation 1 writes one register and polls another.
            Packet::FlushHost(request, done) => {
                let all = Fixed(u32::MAX);
                let control = Fixed(3 | 1 << 6);
                let body = vec![
                    control,
                    Fixed(*request),
                    Fixed(*done),
                    all,
                    all,
                    Fixed(POLL),
                ];
                (op::WAIT_REG_MEM, body)
            }
            Packet::Acquire(words) => {
                let body = words.iter().map(|w| Fixed(*w)).collect();
                (op::ACQUIRE_MEM, body)
            }
            Packet::Release(caches, store, interrupt) => {
                // Event 0x14 with index 5 waits for kernels and caches.
                let event = Fixed(0x14 | 5 << 8 | caches);
                // 2: an interrupt once the store has arrived.
                let raise = if interrupt.is_some() { 2 << 24 } else { 0 };
                let zero = Fixed(0);
                let mut body = vec![event];
                match *store {
                    Store::Nothing => body.extend([Fixed(raise), zero, zero, zero, zero]),
                    Store::Word(at, value) => {
                        body.extend([Fixed(raise | 1 << 29), at, value, zero]);
                    }
                    Store::Wide(at, value) => {
                        body.extend([Fixed(raise | 2 << 29), at, value, zero]);
                    }
                }
                body.push(interrupt.unwrap_or(zero));
                (op::RELEASE_MEM, body)
            }
            Packet::Dispatch([x, y, z], initiator) => {
                (op::DISPATCH_DIRECT, vec![*x, *y, *z, Fixed(*initiator)])
            }
            // Event 7, CS_PARTIAL_FLUSH, has index 4.
            Packet::PartialFlush => (op::EVENT_WRITE, vec![Fixed(7 | 4 << 8)]),
        }
    }
}
