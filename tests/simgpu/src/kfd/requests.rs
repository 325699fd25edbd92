//! Requests to the driver, one by one. In: a number and a structure. Out: the structure as the driver leaves it, or an
//! error number.

use super::abi::{self, Args, Request, errno};
use super::machine::{FileKind, Machine};
use super::sysfs::GPU_ID;
use tinyc_runtime::io::{Errno, Fd};

/// The bit of a mode that turns the runtime's debugging on.
const ENABLE: u32 = 1;

impl Machine {
    /// # Safety
    /// As for [`tinyc_runtime::io::KernelIo::ioctl`].
    pub unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        let decoded = abi::decode(request, self.settings.kfd_version.1);
        let result = match self.files.get(&fd.0).map(|f| &f.kind) {
            Some(FileKind::Driver) => match decoded.request {
                Some(known) if !arg.is_null() => {
                    // The structure is as long as the request says, which was compared with the real length.
                    let passed = unsafe { std::slice::from_raw_parts_mut(arg, decoded.bytes) };
                    let mut args = Args::new(passed);
                    // As the caller promises.
                    let result = unsafe { self.request(known, &mut args) };
                    passed.copy_from_slice(&args.bytes()[..decoded.bytes]);
                    result
                }
                _ => Err(errno::INVALID),
            },
            Some(_) => Err(errno::NO_TTY),
            None => Err(errno::BAD_FD),
        };
        self.call("ioctl", decoded.name, &result);
        result.map(|()| 0)
    }

    /// # Safety
    /// Pointers in the structure are valid.
    unsafe fn request(&mut self, request: Request, a: &mut Args) -> Result<(), Errno> {
        match request {
            Request::GetVersion => {
                let (major, minor) = self.settings.kfd_version;
                a.set32(0, major);
                a.set32(4, minor);
                Ok(())
            }
            Request::AcquireVm => self.acquire_vm(a),
            Request::Alloc => self.alloc(a),
            // As the caller promises, for both.
            Request::Map => unsafe { self.map(a) },
            Request::Unmap => unsafe { self.unmap(a) },
            Request::Free => self.free(a),
            Request::CreateQueue => self.create_queue(a),
            Request::DestroyQueue => self.destroy_queue(a),
            Request::CreateEvent => self.create_event(a),
            Request::DestroyEvent => self.destroy_event(a),
            Request::SetEvent => self.set_event(a, true),
            Request::ResetEvent => self.set_event(a, false),
            // As the caller promises.
            Request::WaitEvents => unsafe { self.wait_events(a) },
            Request::AvailableMemory => {
                if a.u32(8) != GPU_ID {
                    return Err(errno::INVALID);
                }
                let used = self.buffers.values().filter(|b| b.posted());
                let used: u64 = used.map(|b| b.len).sum();
                a.set64(0, self.settings.vram_bytes - used);
                Ok(())
            }
            Request::RuntimeEnable => {
                if a.u32(8) & ENABLE == 0 {
                    self.runtime_enabled = false;
                    return Ok(());
                }
                if self.runtime_enabled {
                    return Err(errno::BUSY);
                }
                if !self.queues.is_empty() {
                    return Err(errno::EXISTS);
                }
                self.runtime_enabled = true;
                Ok(())
            }
        }
    }

    /// ACQUIRE_VM: one address space for the process and the device, that of the first open file.
    fn acquire_vm(&mut self, a: &Args) -> Result<(), Errno> {
        let (fd, gpu) = (a.u32(0) as i32, a.u32(4));
        if gpu != GPU_ID || !self.settings.gpu {
            return Err(errno::INVALID);
        }
        match self.files.get(&fd).map(|f| &f.kind) {
            Some(FileKind::Render) => {}
            Some(_) => return Err(errno::INVALID),
            None => return Err(errno::INVALID),
        }
        match self.vm {
            Some(vm) if vm != fd => Err(errno::BUSY),
            _ => {
                self.vm = Some(fd);
                Ok(())
            }
        }
    }
}
