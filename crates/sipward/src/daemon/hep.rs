//! Listens to what a server on this machine tells of its own messages.

use std::net::SocketAddr;

use sipward_engine::Time;
use tokio::net::UdpSocket;

use super::Guard;
use crate::{config::PortLists, exit::Failure, sensors::HepSensor};

/// Datagrams in one turn at most.
const TURN: usize = 256;
/// Bytes of the longest datagram.
const LONGEST: usize = 65_535;

/// The socket, if there is one, and its reader.
#[derive(Debug)]
pub struct HepListener {
    socket: Option<UdpSocket>,
    sensor: HepSensor,
    buffer: Vec<u8>,
}

impl HepListener {
    /// Listens at this address, or to nobody.
    ///
    /// # Errors
    /// Exit code 2: the address is in use, or none of this machine.
    pub async fn open(address: Option<SocketAddr>, ports: &PortLists) -> Result<Self, Failure> {
        let socket = match address {
            Some(address) => Some(UdpSocket::bind(address).await.map_err(|error| {
                Failure::input(format!("cannot listen for HEP at {address}: {error}"))
            })?),
            None => None,
        };
        Ok(Self {
            buffer: vec![0; if socket.is_some() { LONGEST } else { 0 }],
            socket,
            sensor: HepSensor::new(ports.hep()),
        })
    }

    /// Takes over ports and signatures of the guard.
    pub fn follow(&mut self, guard: &Guard) {
        self.sensor.set_ports(guard.config().ports.hep());
        if let Some(tables) = guard.tables() {
            self.sensor.set_signatures(tables.clone());
        }
    }

    /// Waits until something came.
    pub async fn readable(&self) {
        match &self.socket {
            // An error shows when it is read.
            Some(socket) => drop(socket.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Takes what waits; none is taken as later than `now`. Tells whether more may wait.
    pub fn take(&mut self, guard: &mut Guard, now: Time) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        for _ in 0..TURN {
            let Ok(length) = socket.try_recv(&mut self.buffer) else {
                return false;
            };
            let datagram = self.buffer.get(..length).unwrap_or_default();
            self.sensor.take(datagram, now, &mut |observation, at| {
                guard.observe(observation, at);
            });
        }
        true
    }
}
