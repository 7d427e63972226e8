// SPDX-License-Identifier: Apache-2.0
// The narrow interface behind the API server: keys and values with one global
// revision, changed by compare-and-swap transactions and followed by a feed.
//
// Threads: the event loop's only; callbacks run there too, and never from
// inside the call that registered them.
#ifndef FAIRLEAD_CONTROL_STORE_STORE_H_
#define FAIRLEAD_CONTROL_STORE_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fairlead::store {

// Rises by one with every transaction that changed something.
using Revision = int64_t;

struct Entry {
  std::string key;
  std::string value;
  Revision revision = 0;  // of its last change
};

struct Write {
  // What the key's revision must be: 0 for absent.
  std::string key;
  Revision expected = 0;
  std::optional<std::string> value;  // none: delete
  // Handed back with the Change in this process; never stored.
  std::shared_ptr<void> attachment;
};

struct Change {
  std::string_view key;
  const std::string* value = nullptr;  // null: deleted
  Revision revision = 0;
  std::shared_ptr<void> attachment;  // null for another process's write
};

// A change that was committed some time ago, perhaps by an earlier process.
struct PastChange {
  std::string key;
  Revision revision = 0;
  std::optional<std::string> value;  // none: deleted
  std::optional<Entry> before;       // none: created
};

class Store {
 public:
  virtual ~Store() = default;

  // Of the newest change that the feed has delivered.
  virtual Revision revision() const = 0;

  // What is committed. kNotFound.
  [[nodiscard]] virtual absl::StatusOr<Entry> Get(std::string_view key) = 0;
  // Calls `fn` for each committed entry under `prefix`, by key.
  [[nodiscard]] virtual absl::Status Range(
      std::string_view prefix, const std::function<void(Entry)>& fn) = 0;

  // The newest changes, oldest first, none left out between the first and the
  // store's revision; how many there are is the store's choice.
  [[nodiscard]] virtual absl::StatusOr<std::vector<PastChange>> Past() = 0;

  // All of the writes or none. `done` gets the revision when the transaction
  // is durable and the feed has delivered it; kAborted when an expectation
  // did not hold; any other error when it could not be written (then nothing
  // of it is stored). Transactions take effect in the order of the calls.
  using Done = std::function<void(absl::StatusOr<Revision>)>;
  virtual void Commit(std::vector<Write> writes, Done done) = 0;

  // Copies all that is committed into a new file while reads and writes go on;
  // `path` appears whole or not at all. `done` runs on the loop. The error
  // names the file.
  virtual void Backup(std::string path,
                      std::function<void(absl::Status)> done) = 0;

  // Every change from now on, in the order of revisions. One observer.
  virtual void Observe(std::function<void(const Change&)> observer) = 0;
};

}  // namespace fairlead::store

#endif  // FAIRLEAD_CONTROL_STORE_STORE_H_
