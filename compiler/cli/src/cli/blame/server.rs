//! An executable that answers questions about single launches (`--serve`).
//!
//! In: requests. Out: times and bytes. One process; the pipe to it is the only connection. Requests without an answer are
//! written and not waited for: [`Server::settle`] waits until all are done.

use super::artifact::{Artifact, Written};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tinyc_compiler::diag::{Error, Result};

/// Numbers of the requests.
#[derive(Debug, Clone, Copy)]
enum What {
    Pin = 1,
    Run = 2,
    Time = 3,
    Tell = 4,
    Fill = 5,
    Keep = 6,
    BringBack = 7,
}

/// A running executable.
pub struct Server {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    name: String,
}

impl Server {
    /// Starts one that stays on a processor.
    pub fn start(artifact: &Artifact, processor: usize) -> Result<Server> {
        let name = artifact.path.display().to_string();
        let failed = |e: String| Error::environment(format!("cannot run {name}: {e}"));
        let mut child = Command::new(&artifact.path)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("no pipes".to_string()));
        };
        let mut server = Server {
            child,
            input,
            output,
            name,
        };
        server.ask(What::Pin, 0, processor as u32, 0)?;
        server.settle()?;
        Ok(server)
    }

    /// Runs a launch.
    pub fn run(&mut self, launch: usize) -> Result<()> {
        self.ask(What::Run, launch, 0, 0)
    }

    /// Seconds of one call of a launch: of the fastest of `groups` groups of `calls` calls, after a call that does not count.
    pub fn time(&mut self, launch: usize, calls: u32, groups: u32) -> Result<f64> {
        self.ask(What::Time, launch, calls, groups)?;
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes) as f64 * 1e-9 / f64::from(calls))
    }

    /// Bytes of an argument.
    pub fn tell(&mut self, launch: usize, argument: u32) -> Result<Vec<u8>> {
        self.ask(What::Tell, launch, argument, 0)?;
        let mut size = [0; 8];
        self.read(&mut size)?;
        let mut bytes = vec![0; u64::from_le_bytes(size) as usize];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// Waits until everything that was asked for is done.
    pub fn settle(&mut self) -> Result<()> {
        // No launch has so many arguments: the answer is empty.
        self.tell(0, u32::MAX).map(drop)
    }

    /// Fills what a launch writes and does not read, so that elements which it leaves out are the same in every process.
    pub fn fill(&mut self, launch: usize, written: &[Written]) -> Result<()> {
        for w in written.iter().filter(|w| !w.read) {
            self.ask(What::Fill, launch, w.argument, 0)?;
        }
        Ok(())
    }

    /// Keeps what a launch reads and writes: running it again would not give the same.
    pub fn keep(&mut self, launch: usize, written: &[Written]) -> Result<()> {
        self.each_kept(What::Keep, launch, written)
    }

    /// Undoes all runs of a launch since [`Server::keep`].
    pub fn bring_back(&mut self, launch: usize, written: &[Written]) -> Result<()> {
        self.each_kept(What::BringBack, launch, written)
    }

    fn each_kept(&mut self, what: What, launch: usize, written: &[Written]) -> Result<()> {
        let mut place = 0;
        for w in written.iter().filter(|w| w.read) {
            self.ask(what, launch, w.argument, place)?;
            place += w.bytes.div_ceil(64) as u32;
        }
        Ok(())
    }

    fn ask(&mut self, what: What, launch: usize, a: u32, b: u32) -> Result<()> {
        let mut bytes = [0; 16];
        for (place, word) in
            bytes
                .as_chunks_mut::<4>()
                .0
                .iter_mut()
                .zip([what as u32, launch as u32, a, b])
        {
            *place = word.to_le_bytes();
        }
        let sent = self.input.write_all(&bytes);
        sent.map_err(|_| self.ended())
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let got = self.output.read_exact(bytes);
        got.map_err(|_| self.ended())
    }

    /// Why the process does not answer.
    fn ended(&mut self) -> Error {
        let _ = self.child.kill();
        let status = self.child.wait();
        let why = status.map_or_else(|e| e.to_string(), |s| s.to_string());
        Error::environment(format!("{} stopped answering ({why})", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
