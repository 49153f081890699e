"""The broker as it is configured: where it is, and who we are there."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from config.params import Options
from config.terms import SECOND, text
from config.units import Duration


class Tls(Options):
    """How the broker proves who it is, and how we do."""

    ca: str | None = Field(None, description="File of trusted authorities; default: the system's.")
    cert: str | None = Field(None, description="Our certificate file, for mutual TLS.")
    key: str | None = Field(None, description="Key file of our certificate.")
    insecure: bool = Field(False, description="Accept any certificate. For trials only.")


class Login(Options):
    """Another identity on the same broker."""

    username: str | None = None
    password: SecretStr | None = None
    cert: str | None = Field(None, description="Its certificate file, for mutual TLS.")
    key: str | None = Field(None, description="Key file of that certificate.")


class Broker(Options):
    """Where the broker is and how to log in."""

    url: str = Field(
        "mqtt://localhost:1883",
        pattern=r"^((mqtts?|wss?)://[^/\s:]+(:\d{1,5})?(/\S*)?|unix:/\S+|memory://\S*)$",
        description="mqtt, mqtts, ws, wss or unix address; memory:// stays inside the process.",
    )
    username: str | None = None
    password: SecretStr | None = Field(
        None, description="Better from a file: ${file:/run/secrets/mqtt}."
    )
    protocol: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(text)] = Field(
        "auto", description="auto tries MQTT 5 and falls back to 3.1.1 where refused."
    )
    client_id: str | None = Field(
        None, max_length=60, description="Default: sensorweir-<gateway>. Unique per broker."
    )
    keepalive: Duration = Field(20 * SECOND, ge=5 * SECOND, le=3600 * SECOND)
    session_expiry: Duration = Field(
        7 * 86_400 * SECOND, description="How long the broker keeps our messages while we are away."
    )
    linger: Duration = Field(
        10_000_000,
        le=SECOND,
        description="How long a message that no alert hangs on by itself may wait for others, to be "
        "worked on together: more costs less CPU. Where a source has only alerts and windows, one "
        "that passes no limit may wait for 0.1 s. 0: none waits.",
    )
    tls: Tls | None = None
    publish_as: Login | None = Field(
        None,
        description="Log in as somebody else for what is published, so that the broker can let one "
        "only read and the other only write. Default: the same for both.",
    )

    @property
    def publisher(self) -> "Broker":
        """The broker as the publishing connection logs in."""
        login = self.publish_as
        if login is None:
            return self
        tls = self.tls
        if login.cert is not None:
            tls = (tls or Tls()).model_copy(update={"cert": login.cert, "key": login.key})
        who = {"username": login.username, "password": login.password, "tls": tls}
        return self.model_copy(update=who)
