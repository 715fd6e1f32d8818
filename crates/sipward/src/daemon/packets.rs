//! What the taps see as the engine's observations.

use std::net::SocketAddr;

use sipward_engine::{Direction, LogTransport, Observation, Time, Transport};
use sipward_shield::{self as shield, TapFrame, TapPorts};
use sipward_signature::Tables;
use sipward_wire::{LinkType, Packet};

use super::guard::Guard;
use crate::{
    clock,
    config::Config,
    sensors::{Connections, Frame, PacketSensor},
};

/// The sensor of packets, and what it is given.
#[derive(Debug)]
pub struct Packets {
    /// None while it is at work.
    sensor: Option<Box<PacketSensor>>,
    /// Who is connected to the ports whose words cannot be read.
    pub connections: Connections,
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
            sensor: Some(Box::new(sensor)),
            frames: 0,
            lost: 0,
        }
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
                self.packets.connections.is_readable(message.source);
            }
            self.observe(observation, at);
        });
        self.packets.sensor = Some(sensor);
    }

    /// What somebody speaks who connects from this address to a port whose words cannot be read.
    pub(super) fn connection(&self, remote: SocketAddr) -> Option<LogTransport> {
        self.packets.connections.speaks(remote, clock::now())
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
