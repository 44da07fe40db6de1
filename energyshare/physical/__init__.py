"""The physical layer: terminals execute commands that follow from the chain, and meter energy (design, section 4).

Arithmetic alone: `storage` (what is in a storage), `line` (what arrives of what is sent), `messages`, `topics`,
`reporting` (when a station's state deserves a report). Devices: `device` (what a terminal commands, and a simulated
storage), `feeder` (the wires between simulated ones), `sunspec` (an inverter over Modbus), `inverter` (one to try that
on). Talking: `link` (a client of any MQTT 5 broker), `broker` and `mqtt5` (the embedded one), `terminal` with its
`journal` (obeys), `gateway` (commands).
"""
