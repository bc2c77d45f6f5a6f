/// A client's keys, and the file in which `eftraind keygen` hands them out: docs/protocol.md,
/// section 11. A key never appears in an error.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <zmq.h>

#include "eftraind/errors.hpp"

namespace eftraind {

/// CURVE keys as 40 characters of Z85 each: the daemon's public key, the client's own pair.
struct Keys {
    std::string server_public;
    std::string client_public;
    std::string client_secret;
};

namespace inside {

[[noreturn]] inline void refuse_keys(std::string message, std::string remedy) {
    raise({FaultKind::client, std::move(message), std::move(remedy), "keys"});
}

inline bool is_key(const std::string& word) {
    constexpr const char* letters =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    std::uint8_t bytes[32];  // not every 40 letters of Z85 are 32 bytes
    return word.size() == 40 && word.find_first_not_of(letters) == std::string::npos &&
           zmq_z85_decode(bytes, word.c_str()) != nullptr;
}

inline void check_keys(const Keys& keys) {
    for (const std::string* key :
         {&keys.server_public, &keys.client_public, &keys.client_secret}) {
        if (!is_key(*key)) {
            refuse_keys("a key of " + std::to_string(key->size()) + " characters is no CURVE key",
                        "a key is 40 characters of Z85, as eftraind keygen prints it");
        }
    }
}

/// The words of a line. A key may hold a #, so only a # of its own begins a comment.
inline std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    std::istringstream stream(line);
    for (std::string word; stream >> word && word != "#";) {
        words.push_back(word);
    }
    return words;
}

}  // namespace inside

/// The keys in a file that only its owner can read. Throws ClientError with code "keys".
inline Keys read_keys(const std::string& path) {
    std::ifstream file(path);
    struct stat facts {};
    if (!file || stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
        inside::refuse_keys("cannot read the key file " + path, "check the path and its owner");
    }
    if ((facts.st_mode & 077U) != 0) {
        inside::refuse_keys("other users can read " + path, "chmod 600 " + path);
    }
    Keys keys;
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
        const std::vector<std::string> words = inside::words_of(line);
        if (words.empty()) {
            continue;
        }
        std::string* key = words[0] == "server"   ? &keys.server_public
                           : words[0] == "public" ? &keys.client_public
                           : words[0] == "secret" ? &keys.client_secret
                                                  : nullptr;
        if (key == nullptr || words.size() != 2 || !key->empty() || !inside::is_key(words[1])) {
            inside::refuse_keys(path + ", line " + std::to_string(number) +
                                    ": not a line of a key file",
                                "one line each of secret KEY, public KEY and server KEY");
        }
        *key = words[1];
    }
    if (keys.server_public.empty() || keys.client_public.empty() || keys.client_secret.empty()) {
        inside::refuse_keys(path + " lacks the daemon's public key or a key of this client",
                            "make it with eftraind keygen NAME --server KEY");
    }
    return keys;
}

}  // namespace eftraind
