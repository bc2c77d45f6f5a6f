"""The one tree of errors. Every error says the cause and the next step.

EftraindError
├── ConfigError          a configuration file or value            (exit status 78)
├── GraphError           a network that cannot be built
├── WeightsError         weights of another network, damaged or not finite
├── ProgramError         a command program that a device refuses
├── DeviceError          a device failed
│   ├── DeviceUnavailable    it cannot be opened here
│   ├── DeviceLost           it hangs or is gone; whatever it held is lost     (exit status 74)
│   │   └── DeviceTimeout        it did not finish before its deadline
│   └── NonFiniteError       a command produced NaN or Inf
├── StorageError         a disk operation failed
│   ├── JournalFull          every segment still holds samples the engine has not consumed
│   ├── RecordTooLarge       one record exceeds a segment
│   ├── ReadOnlyStorage      the file system refuses writes
│   ├── CheckpointDamaged    a checkpoint failed its checks
│   ├── NoCheckpoint         no good checkpoint exists
│   └── StateLocked          another daemon owns the state directory
├── WireError            a message breaks protocol EFT/1; `.code` is the code sent to the client
└── ClientError          raised by the SDK
    ├── Refused              the daemon refused an operation; `.code` tells why
    ├── Backpressure         the local queue is full and the policy is "refuse"
    ├── Disconnected         no daemon answered in time
    └── Closed               the client was closed

This module never logs and never decides what to do about an error.
"""


class EftraindError(Exception):
    """Base of all errors. `code` is a short stable token used on the wire and as a metric label."""

    code = "error"

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class ConfigError(EftraindError):
    code = "config"


class GraphError(EftraindError):
    code = "graph"


class WeightsError(EftraindError):
    code = "weights"


class ProgramError(EftraindError):
    code = "program"


class DeviceError(EftraindError):
    code = "device"


class DeviceUnavailable(DeviceError):
    code = "device_unavailable"


class DeviceLost(DeviceError):
    code = "device_lost"


class DeviceTimeout(DeviceLost):
    code = "device_timeout"


class NonFiniteError(DeviceError):
    code = "nonfinite"


class StorageError(EftraindError):
    code = "storage"


class JournalFull(StorageError):
    code = "journal_full"


class RecordTooLarge(StorageError):
    code = "record_too_large"


class ReadOnlyStorage(StorageError):
    code = "read_only"


class CheckpointDamaged(StorageError):
    code = "checkpoint_damaged"


class NoCheckpoint(StorageError):
    code = "no_checkpoint"


class StateLocked(StorageError):
    code = "state_locked"


class WireError(EftraindError):
    code = "malformed"


class ClientError(EftraindError):
    code = "client"


class Refused(ClientError):
    code = "refused"


class Backpressure(ClientError):
    code = "backpressure"


class Disconnected(ClientError):
    code = "disconnected"


class Closed(ClientError):
    code = "closed"
