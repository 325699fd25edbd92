//! Programs: code of a kernel, decoded once. In: an address in memory. Out: steps that run one after the other.
//!
//! What can be reached from the address is decoded, following branches. Code reached by a computed jump is decoded when
//! it is jumped to. A step knows its words, so that a program can be compared with memory before it is used again.

use crate::isa::{DecodeError, Inst, Isa};
use crate::memory::{BadAddress, Memory};
use crate::wave::{Action, Class, Condition, Handler, lower};
use std::collections::HashMap;

/// What a step does.
pub enum Step {
    /// An instruction.
    Run(Handler),
    /// Nothing.
    Nothing,
    /// Goes on elsewhere when the condition holds.
    Branch(Condition, usize),
    /// Goes on elsewhere.
    Goto(usize),
    /// Waits for the other waves.
    Barrier,
    /// Ends the wave.
    End,
    /// No instruction that can be executed.
    Fault(Box<str>),
}

/// One instruction and where it is.
pub struct Line {
    /// What it does.
    pub step: Step,
    /// What it occupies.
    pub class: Class,
    /// Its address.
    pub address: u64,
    /// Its words.
    pub words: Vec<u32>,
}

/// Decoded code.
#[derive(Default)]
pub struct Program {
    /// Steps in the order of execution; a branch names its target by number.
    pub lines: Vec<Line>,
    /// Where the instruction at an address is.
    at: HashMap<u64, usize>,
    /// How many vector registers are used.
    pub vgprs: usize,
}

/// A branch to code that is not decoded yet.
struct Open {
    line: usize,
    target: u64,
}

impl Program {
    /// The line of the instruction at this address; decodes what is not known.
    pub fn line(&mut self, memory: &Memory, address: u64) -> usize {
        if let Some(&line) = self.at.get(&address) {
            return line;
        }
        let start = self.lines.len();
        let mut open = Vec::new();
        let mut todo = vec![address];
        while let Some(address) = todo.pop() {
            self.run(memory, address, &mut open, &mut todo);
        }
        for branch in open {
            let target = self.at.get(&branch.target).copied().unwrap_or(start);
            match &mut self.lines[branch.line].step {
                Step::Branch(_, to) | Step::Goto(to) => *to = target,
                _ => {}
            }
        }
        start
    }

    /// Decodes from an address to where execution does not go on.
    fn run(&mut self, memory: &Memory, start: u64, open: &mut Vec<Open>, todo: &mut Vec<u64>) {
        let mut address = start;
        loop {
            if self.at.contains_key(&address) {
                if address != start {
                    // Known code follows: go there.
                    let line = self.lines.len();
                    open.push(Open {
                        line,
                        target: address,
                    });
                    self.lines.push(Line {
                        step: Step::Goto(0),
                        class: Class::Branch,
                        address,
                        words: Vec::new(),
                    });
                }
                return;
            }
            let line = self.lines.len();
            self.at.insert(address, line);
            let (inst, words) = match read(memory, address) {
                Ok(found) => found,
                Err(why) => {
                    self.fault(address, why);
                    return;
                }
            };
            let after = address.wrapping_add(4 * words.len() as u64);
            let lowered = match lower(&inst, after) {
                Ok(lowered) => lowered,
                Err(why) => {
                    self.fault(address, format!("{inst:?}: {why}"));
                    return;
                }
            };
            self.vgprs = self.vgprs.max(lowered.vgprs);
            let step = match lowered.action {
                Action::Run(handler) => Step::Run(handler),
                Action::Nothing => Step::Nothing,
                Action::Barrier => Step::Barrier,
                Action::End => Step::End,
                Action::Branch(condition, words) => {
                    let target = after.wrapping_add_signed(i64::from(words) * 4);
                    open.push(Open { line, target });
                    todo.push(target);
                    match lowered.falls_through {
                        true => Step::Branch(condition, 0),
                        false => Step::Goto(0),
                    }
                }
            };
            self.lines.push(Line {
                step,
                class: lowered.class,
                address,
                words,
            });
            if !lowered.falls_through {
                return;
            }
            address = after;
        }
    }

    fn fault(&mut self, address: u64, why: String) {
        self.lines.push(Line {
            step: Step::Fault(why.into()),
            class: Class::Wait,
            address,
            words: Vec::new(),
        });
    }

    /// Whether memory still holds these instructions.
    pub fn is_current(&self, memory: &Memory) -> bool {
        self.lines.iter().all(|line| {
            let words = line.words.iter().enumerate();
            let same = |(n, word): (usize, &u32)| {
                memory.load_u32(line.address + 4 * n as u64) == Ok(*word)
            };
            !matches!(line.step, Step::Fault(_)) && words.into_iter().all(same)
        })
    }
}

/// Decodes one instruction.
fn read(memory: &Memory, address: u64) -> Result<(Inst, Vec<u32>), String> {
    let bad = |e: BadAddress| format!("code: {e}");
    let mut words = vec![memory.load_u32(address).map_err(bad)?];
    // An instruction has one to three words.
    for n in 1..3 {
        match memory.load_u32(address + 4 * n) {
            Ok(word) => words.push(word),
            Err(_) => break,
        }
    }
    let inst = Isa::gfx1100()
        .decode(&words)
        .map_err(|e: DecodeError| e.to_string())?;
    words.truncate(inst.len());
    Ok((inst, words))
}
