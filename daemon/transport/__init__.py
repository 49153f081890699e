"""How messages come in and go out: one port, an in-process bus, and MQTT."""

from daemon.transport.port import Transport, Wiring

__all__ = ["Transport", "Wiring", "make_transport"]


def make_transport(wiring: Wiring) -> Transport:
    """The transport that the broker's URL asks for."""
    if wiring.broker.url.startswith("memory:"):
        from daemon.transport.memory import MemoryTransport  # noqa: PLC0415 - one of the two

        return MemoryTransport(wiring)
    from daemon.transport.mqtt import MqttTransport  # noqa: PLC0415 - paho only where needed

    return MqttTransport(wiring)
