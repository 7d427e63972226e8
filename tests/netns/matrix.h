// SPDX-License-Identifier: Apache-2.0
// Cells of the matrix on a ServiceBed: every kind of frontend, client, policy,
// protocol and family on real packets. A test runs clients against policies;
// what ran is printed as a table at the end, an empty cell fails.
//
// The tables of all runs of a process are its coverage (coverage.h).
//
// Threads: the test's main thread.
#ifndef FAIRLEAD_TESTS_NETNS_MATRIX_H_
#define FAIRLEAD_TESTS_NETNS_MATRIX_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/netns/matrix_cells.h"
#include "tests/netns/probes.h"
#include "tests/netns/service_bed.h"

namespace fairlead::harness {

struct Cell;

class Matrix {
 public:
  // `name` heads the tables. The bed's agent runs.
  Matrix(std::string name, ServiceBed* bed)
      : name_(std::move(name)), bed_(bed), turned_away_(bed->Counters()) {}
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;

  // All cells of the clients with these policies, each in two families and
  // protocols. Policies take the places of those before.
  void Run(const std::vector<Client>& clients,
           const std::vector<Policy>& policies);
  // Prints; expects that nothing was left out.
  void Finish();

 private:
  // Cells run, cells passed.
  using Count = std::pair<int, int>;
  struct Table {
    std::vector<Client> clients;
    std::vector<Policy> policies;
    // {client, way} -> policy ->
    std::map<std::pair<std::string, std::string>, std::map<std::string, Count>>
        counts;
  };

  void Apply(const std::vector<Policy>& policies);
  void RunSome(const Client& client, std::vector<Cell>* cells, bool silent);
  void Start(Cell* cell, Probes* probes);
  std::string Judge(const Cell& cell, const Probes& probes);
  void Record(const Cell& cell, const std::string& problem);
  // Rows that are policies; counts what is empty.
  std::string Text(const Table& table, int* empty) const;

  std::string name_;
  ServiceBed* bed_;
  std::vector<Table> tables_;
  std::map<std::string, std::string> complaints_;
  std::map<std::string, double> turned_away_;  // by counter, up to now
  std::map<std::string, int> differences_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_MATRIX_H_
