//! What the taps see as the engine's observations.

use sipward_engine::{Direction, Time};
use sipward_shield::{self as shield, TapFrame, TapPorts};
use sipward_signature::Tables;
use sipward_wire::{LinkType, Packet};

use super::guard::Guard;
use crate::{
    config::PortLists,
    sensors::{Frame, PacketSensor},
};

/// The sensor of packets, and what it is given.
#[derive(Debug)]
pub struct Packets {
    /// None while it is at work.
    sensor: Option<Box<PacketSensor>>,
    /// Frames given to it.
    pub frames: u64,
    /// Frames that the taps lost.
    pub lost: u64,
}

impl Packets {
    /// Reads what these ports say.
    pub fn new(ports: &PortLists) -> Self {
        // Each frame of a tap says itself which way it went.
        let sensor = PacketSensor::new(ports.sip(), Vec::new());
        Self {
            sensor: Some(Box::new(sensor)),
            frames: 0,
            lost: 0,
        }
    }

    /// Reads what other ports say from now on.
    pub fn set_ports(&mut self, ports: &PortLists) {
        if let Some(sensor) = &mut self.sensor {
            sensor.set_ports(ports.sip());
        }
    }

    /// Looks for these signatures in what the kernel's program cannot see.
    pub fn set_signatures(&mut self, tables: Tables) {
        if let Some(sensor) = &mut self.sensor {
            sensor.set_signatures(tables);
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
        sensor.take_packet(&seen, &packet, &mut |observation, at| {
            self.observe(observation, at);
        });
        self.packets.sensor = Some(sensor);
    }
}

/// What the taps have to look at.
pub fn tap_ports(ports: &PortLists) -> TapPorts {
    TapPorts {
        udp: ports.sip_udp.clone(),
        tcp: [ports.sip_tcp.as_slice(), &ports.sip_ws].concat(),
    }
}
