//! The changes that the demo makes: those that an application's signals and hooks miss.

use futures_util::SinkExt;

use super::actors::Actors;

/// One transaction of the demo.
pub(crate) struct ScenarioStep {
    /// Headline: what it is, and why a signal would have missed it.
    pub(crate) title: &'static str,
    /// The statements, as the application sends them.
    pub(crate) sql: &'static str,
    /// How the statements are executed.
    pub(crate) execution: Execution,
}

/// How a step is executed. Each variant makes at most one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Execution {
    /// On the application's connection.
    Application,
    /// On a connection that is not the application's: a script, a colleague's psql.
    SecondConnection,
    /// `COPY … FROM STDIN` with these rows, on the application's connection.
    Copy(&'static str),
    /// On the application's connection, and rolled back: no change is to be reported.
    RolledBack,
}

/// The steps that are run once, in this order.
pub(crate) const SCENARIO: &[ScenarioStep] = &[
    ScenarioStep {
        title: "A bulk UPDATE: no object is saved, so no save signal is sent",
        sql: "UPDATE items SET price = price * 1.10 WHERE category = 'tea'",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "Raw SQL from a second connection: the application never sees it",
        sql: "UPDATE customers SET city = 'Lisbon' WHERE id = 7",
        execution: Execution::SecondConnection,
    },
    ScenarioStep {
        title: "DELETE … USING: the rows are never loaded, their ids have two columns",
        sql: "DELETE FROM order_lines USING orders \
              WHERE orders.id = order_lines.order_id AND orders.status = 'cancelled'",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "A trigger: the application adds a line, the database takes it from the stock",
        sql: "INSERT INTO order_lines (order_id, line, item_id, quantity) VALUES (1, 3, 5, 2)",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "COPY: a nightly import",
        sql: "COPY customers (name, city) FROM STDIN",
        execution: Execution::Copy("Ada\tLondon\nGrace\tNew York\nEdsger\tRotterdam\n"),
    },
    ScenarioStep {
        title: "A transaction over two tables: reported completely or not at all",
        sql: "BEGIN; \
              INSERT INTO orders (customer_id) VALUES (2); \
              INSERT INTO order_lines VALUES (lastval(), 1, 8, 1), (lastval(), 2, 9, 4); \
              COMMIT",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "A rolled-back transaction: signals were sent, yet nothing happened",
        sql: "BEGIN; UPDATE items SET price = 0; ROLLBACK",
        execution: Execution::RolledBack,
    },
    ScenarioStep {
        title: "A key that changes: one row goes, another comes, and order lines follow by cascade",
        sql: "UPDATE items SET id = 1001 WHERE id = 5",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "TRUNCATE: it names no rows, so clients read the whole table again",
        sql: "TRUNCATE order_lines",
        execution: Execution::Application,
    },
];

/// Background traffic, repeated after the scenario. It deletes as much as it inserts, so that the
/// tables stay small.
pub(crate) const BACKGROUND: &[ScenarioStep] = &[
    ScenarioStep {
        title: "A customer orders two items",
        sql: "WITH placed AS (INSERT INTO orders (customer_id) \
              SELECT id FROM customers ORDER BY random() LIMIT 1 RETURNING id) \
              INSERT INTO order_lines SELECT placed.id, row_number() OVER (), chosen.id, 1 \
              FROM placed, (SELECT id FROM items ORDER BY random() LIMIT 2) AS chosen",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "A delivery increases the stock",
        sql: "UPDATE items SET stock = stock + 10 \
              WHERE id IN (SELECT id FROM items ORDER BY random() LIMIT 3)",
        execution: Execution::SecondConnection,
    },
    ScenarioStep {
        title: "An order is shipped",
        sql: "UPDATE orders SET status = 'sent' WHERE id = (SELECT max(id) FROM orders)",
        execution: Execution::Application,
    },
    ScenarioStep {
        title: "A customer moves",
        sql: "UPDATE customers SET city = (ARRAY['Oslo', 'Porto', 'Turin'])[1 + id % 3] \
              WHERE id = (SELECT id FROM customers ORDER BY random() LIMIT 1)",
        execution: Execution::SecondConnection,
    },
    ScenarioStep {
        title: "The oldest order is deleted, with its lines",
        sql: "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)",
        execution: Execution::Application,
    },
];

impl ScenarioStep {
    /// Executes the statements; returns when they are committed or rolled back.
    pub(crate) async fn run(&self, actors: &Actors) -> Result<(), tokio_postgres::Error> {
        match self.execution {
            Execution::Application | Execution::RolledBack => {
                actors.application.batch_execute(self.sql).await
            }
            Execution::SecondConnection => actors.second.batch_execute(self.sql).await,
            Execution::Copy(rows) => {
                let sink = actors.application.copy_in(self.sql).await?;
                let mut sink = std::pin::pin!(sink);
                sink.send(bytes::Bytes::from_static(rows.as_bytes())).await?;
                sink.finish().await.map(drop)
            }
        }
    }

    /// Whether the step commits changes, so that clients receive them.
    pub(crate) fn commits(&self) -> bool {
        self.execution != Execution::RolledBack
    }
}
