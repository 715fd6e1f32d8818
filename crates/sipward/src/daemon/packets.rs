//! What the taps see as the engine's observations.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use sipward_asterisk::log::SecurityEvent;
use sipward_engine::{Direction, LogTransport, Observation, Time, Transport};
use sipward_shield::{self as shield, TapFrame, TapPorts};
use sipward_signature::Tables;
use sipward_wire::{LinkType, Packet};

use super::{guard::Guard, machine, taps::Taps};
use crate::{
    clock,
    config::Config,
    sensors::{Connections, Frame, PacketSensor, asterisk::needs_connection},
};

/// How often a line has the connections that are there looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Where that takes longer, as with ten thousands of connections, it gets one part in so many of
/// the time: whoever makes Asterisk write lines must not make us do nothing else.
const SHARE: u32 = 100;

/// The sensor of packets, and what it is given.
#[derive(Debug)]
pub struct Packets {
    /// None while it is at work.
    sensor: Option<Box<PacketSensor>>,
    /// Who is connected to the ports whose words cannot be read.
    pub connections: Connections,
    /// When a line may have those that are there looked at again.
    look_again: Instant,
    /// Frames given to it.
    pub frames: u64,
    /// Frames that the taps lost.
    pub lost: u64,
}

impl Packets {
    /// Reads what these ports say.
    pub fn new(config: &Config) -> Self {
        // Each frame of a tap says itself which way it went.
        let sensor = PacketSensor::new(config.ports.sip(), Vec::new());
        Self {
            connections: Connections::new(config.connection_ports()),
            look_again: Instant::now(),
            sensor: Some(Box::new(sensor)),
            frames: 0,
            lost: 0,
        }
    }

    /// Forgets what it saw, but for the counts.
    pub fn begin_anew(&mut self, fresh: Self) {
        let (frames, lost) = (self.frames, self.lost);
        *self = Self {
            frames,
            lost,
            ..fresh
        };
    }

    /// Reads what other ports say from now on.
    pub fn set_ports(&mut self, config: &Config) {
        self.connections.set_ports(config.connection_ports());
        if let Some(sensor) = &mut self.sensor {
            sensor.set_ports(config.ports.sip());
        }
    }

    /// Looks for these signatures in what the kernel's program cannot see.
    pub fn set_signatures(&mut self, tables: Tables) {
        if let Some(sensor) = &mut self.sensor {
            sensor.set_signatures(tables);
        }
    }

    /// Looks for signatures in every message: nobody else does.
    pub fn scan_all(&mut self) {
        if let Some(sensor) = &mut self.sensor {
            sensor.scan_all();
        }
    }

    /// What it gave to the engine, and what it could not read.
    pub fn events(&self) -> (u64, u64) {
        self.sensor.as_ref().map_or((0, 0), |sensor| {
            let counters = sensor.counters();
            (
                counters.messages + counters.unreachable + counters.signatures,
                counters.not_sip + counters.cut,
            )
        })
    }
}

impl Guard {
    /// Takes a frame that was seen behind the shield.
    pub fn take_frame(&mut self, frame: &TapFrame<'_>) {
        let Some(mut sensor) = self.packets.sensor.take() else {
            return;
        };
        self.packets.frames += 1;
        let packet = Packet::parse(LinkType::Ethernet, frame.bytes);
        let seen = Frame {
            number: self.packets.frames,
            at: Time(frame.at),
            link: LinkType::Ethernet,
            bytes: frame.bytes,
            is_cut: frame.is_cut,
            direction: Some(match frame.direction {
                shield::Direction::In => Direction::Inbound,
                shield::Direction::Out => Direction::Outbound,
            }),
        };
        self.check_leak(frame, &packet);
        if let Some(direction) = seen.direction {
            let connections = &mut self.packets.connections;
            connections.take(&packet, direction, seen.at);
        }
        sensor.take_packet(&seen, &packet, &mut |observation, at| {
            if let Observation::Message(message) = observation
                && message.transport == Transport::Tcp
                && message.direction == Direction::Inbound
            {
                self.packets
                    .connections
                    .is_readable(message.source, message.destination.port());
            }
            self.observe(observation, at);
        });
        self.packets.sensor = Some(sensor);
    }

    /// Which of these somebody speaks who was seen to connect from this address and port.
    pub(super) fn connection(
        &self,
        remote: SocketAddr,
        spoken: &[LogTransport],
    ) -> Option<LogTransport> {
        let connections = &self.packets.connections;
        connections.speaks(remote, spoken, clock::now())
    }

    /// Whether this event counts only with a connection that nobody saw.
    pub(super) fn lacks_connection(&self, event: &SecurityEvent<'_>) -> bool {
        needs_connection(event)
            .is_some_and(|(remote, spoken)| self.connection(remote, spoken).is_none())
    }

    /// Looks for the connection that this event is about: in the frames that wait, and among those
    /// that are there, but for these once a second at most.
    pub(super) fn seek_connection(&mut self, event: &SecurityEvent<'_>, taps: &mut Taps) {
        taps.drain(self);
        if Instant::now() >= self.packets.look_again && self.lacks_connection(event) {
            self.look_for_connections();
        }
    }

    /// Adds the connections that are there: a tap may have lost how they began.
    pub(super) fn look_for_connections(&mut self) {
        let began = Instant::now();
        machine::connections(&mut self.packets.connections, clock::now());
        self.packets.look_again = began + LOOK.max(began.elapsed() * SHARE);
    }
}

/// What the taps have to look at.
pub fn tap_ports(config: &Config) -> TapPorts {
    let ports = &config.ports;
    TapPorts {
        udp: ports.sip_udp.clone(),
        tcp: [ports.sip_tcp.as_slice(), &ports.sip_ws].concat(),
        handshakes: [ports.sip_tls.as_slice(), &config.connection_ports().manager].concat(),
    }
}
