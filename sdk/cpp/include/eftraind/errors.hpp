/// The errors of the SDK, the same tree as in Python. Each says the cause and the next step.
///
///     Error
///     |-- WireError          bytes that break protocol EFT/1
///     `-- ClientError        raised by a call of the client
///         |-- Refused            the daemon (or a check before sending) refused; code() tells why
///         |-- Backpressure       no room: the local queue is full, or the daemon cannot take more
///         |-- Disconnected       no daemon answered in time
///         `-- Closed             the client was closed
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace eftraind {

enum class FaultKind { wire, client, refused, backpressure, disconnected, closed };

/// An error as a value: threads hand these to each other, `raise` makes an exception of one.
struct Fault {
    FaultKind kind = FaultKind::client;
    std::string message;
    std::string remedy;
    std::string code;
};

/// Base of all errors. Copying one never throws.
class Error : public std::exception {
  public:
    explicit Error(Fault fault) : facts_(std::make_shared<const Facts>(std::move(fault))) {}

    const char* what() const noexcept override { return facts_->text.c_str(); }
    const std::string& message() const noexcept { return facts_->fault.message; }
    const std::string& remedy() const noexcept { return facts_->fault.remedy; }
    /// A short stable token, for a refusal that of docs/protocol.md section 6.
    const std::string& code() const noexcept { return facts_->fault.code; }
    const Fault& fault() const noexcept { return facts_->fault; }

  private:
    struct Facts {
        explicit Facts(Fault given)
            : fault(std::move(given)),
              text(fault.remedy.empty() ? fault.message
                                        : fault.message + " (" + fault.remedy + ")") {}
        Fault fault;
        std::string text;
    };
    std::shared_ptr<const Facts> facts_;
};

class WireError : public Error {
  public:
    using Error::Error;
};

class ClientError : public Error {
  public:
    using Error::Error;
};

class Refused : public ClientError {
  public:
    using ClientError::ClientError;
};

class Backpressure : public ClientError {
  public:
    using ClientError::ClientError;
};

class Disconnected : public ClientError {
  public:
    using ClientError::ClientError;
};

class Closed : public ClientError {
  public:
    using ClientError::ClientError;
};

/// Throw the exception that a fault describes.
[[noreturn]] inline void raise(Fault fault) {
    switch (fault.kind) {
        case FaultKind::wire: throw WireError(std::move(fault));
        case FaultKind::refused: throw Refused(std::move(fault));
        case FaultKind::backpressure: throw Backpressure(std::move(fault));
        case FaultKind::disconnected: throw Disconnected(std::move(fault));
        case FaultKind::closed: throw Closed(std::move(fault));
        case FaultKind::client: break;
    }
    throw ClientError(std::move(fault));
}

}  // namespace eftraind
