//! A proxy for TCP that breaks connections, so many bytes into the answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing bad.
    Fair,
    /// Every connection ends after so many bytes of answers, so many times in all.
    Cuts { bytes: u64, times: u64 },
    /// So many connections are answered "503 Service Unavailable".
    Busy { times: u64 },
    /// Once so many bytes of answers have passed in all, connections stay open and silent.
    Stalls { bytes: u64 },
    /// Once so many bytes have passed in all, connections end and no new ones are taken.
    Dies { bytes: u64 },
}

struct Shared {
    weather: Mutex<Weather>,
    passed: AtomicU64,
    times: AtomicU64,
}

/// The proxy before a server of this machine.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn new(to: u16, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            weather: Mutex::new(weather),
            passed: AtomicU64::new(0),
            times: AtomicU64::new(0),
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&ours);
                std::thread::spawn(move || serve(&shared, client, to));
            }
        });
        Self { port, shared }
    }

    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
        self.shared.passed.store(0, Ordering::SeqCst);
        self.shared.times.store(0, Ordering::SeqCst);
    }

    /// How often it did harm.
    pub fn times(&self) -> u64 {
        self.shared.times.load(Ordering::SeqCst)
    }
}

/// Whether one more of so many is left.
fn one_of(shared: &Shared, times: u64) -> bool {
    shared
        .times
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count < times).then_some(count + 1))
        .is_ok()
}

fn serve(shared: &Shared, mut client: TcpStream, to: u16) {
    let weather = *shared.weather.lock().unwrap();
    match weather {
        Weather::Busy { times } if one_of(shared, times) => {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let _ = client.write_all(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
            return;
        }
        Weather::Dies { bytes } if shared.passed.load(Ordering::SeqCst) >= bytes => return,
        _ => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 16 << 10];
    let mut here = 0;
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let weather = *shared.weather.lock().unwrap();
        match weather {
            Weather::Cuts { bytes, times } if here >= bytes && one_of(shared, times) => break,
            Weather::Stalls { bytes } if shared.passed.load(Ordering::SeqCst) >= bytes => {
                while *shared.weather.lock().unwrap() == weather {
                    std::thread::sleep(Duration::from_millis(20));
                }
                break;
            }
            Weather::Dies { bytes } if shared.passed.load(Ordering::SeqCst) >= bytes => break,
            _ => {}
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
        here += count as u64;
        shared.passed.fetch_add(count as u64, Ordering::SeqCst);
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
