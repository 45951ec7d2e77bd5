//! What happens in the shop: changes that an application's signals and hooks miss.

use futures_util::SinkExt;
use tokio_postgres::Client;

/// One thing that happens.
pub(crate) struct Step {
    /// What it is, and why a signal would have missed it.
    pub(crate) title: &'static str,
    /// The statements as an application sends them.
    pub(crate) sql: &'static str,
    /// How they are run.
    pub(crate) way: Way,
}

/// How a step is run. Whatever the way, it makes one commit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the application's connection.
    Application,
    /// On a connection of somebody else: a script, a colleague's psql.
    SecondConnection,
    /// `COPY … FROM STDIN` with these rows.
    Copy(&'static str),
    /// On the application's connection, and taken back: there is nothing to tell.
    RolledBack,
}

/// The story, told once.
pub(crate) const STORY: &[Step] = &[
    Step {
        title: "A bulk UPDATE: no object is saved, so no save signal is sent",
        sql: "UPDATE items SET price = price * 1.10 WHERE category = 'tea'",
        way: Way::Application,
    },
    Step {
        title: "Raw SQL from a second connection: the application never hears of it",
        sql: "UPDATE customers SET city = 'Lisbon' WHERE id = 7",
        way: Way::SecondConnection,
    },
    Step {
        title: "DELETE … USING: the rows are never loaded, their ids have two columns",
        sql: "DELETE FROM order_lines USING orders \
              WHERE orders.id = order_lines.order_id AND orders.status = 'cancelled'",
        way: Way::Application,
    },
    Step {
        title: "A trigger: the application adds a line, the database takes it from the stock",
        sql: "INSERT INTO order_lines (order_id, line, item_id, quantity) VALUES (1, 3, 5, 2)",
        way: Way::Application,
    },
    Step {
        title: "COPY: a nightly import",
        sql: "COPY customers (name, city) FROM STDIN",
        way: Way::Copy("Ada\tLondon\nGrace\tNew York\nEdsger\tRotterdam\n"),
    },
    Step {
        title: "A transaction over two tables: told whole, never half",
        sql: "BEGIN; \
              INSERT INTO orders (customer_id) VALUES (2); \
              INSERT INTO order_lines VALUES (lastval(), 1, 8, 1), (lastval(), 2, 9, 4); \
              COMMIT",
        way: Way::Application,
    },
    Step {
        title: "A rolled-back transaction: signals were sent, yet nothing happened",
        sql: "BEGIN; UPDATE items SET price = 0; ROLLBACK",
        way: Way::RolledBack,
    },
    Step {
        title: "A key that changes: one row goes, another comes, and order lines follow by cascade",
        sql: "UPDATE items SET id = 1001 WHERE id = 5",
        way: Way::Application,
    },
    Step {
        title: "TRUNCATE: no row is named, so the whole table is to be read again",
        sql: "TRUNCATE order_lines",
        way: Way::Application,
    },
];

/// What goes on afterwards, over and over: it keeps the tables small.
pub(crate) const EVERYDAY: &[Step] = &[
    Step {
        title: "Somebody orders two things",
        sql: "WITH placed AS (INSERT INTO orders (customer_id) \
              SELECT id FROM customers ORDER BY random() LIMIT 1 RETURNING id) \
              INSERT INTO order_lines SELECT placed.id, row_number() OVER (), chosen.id, 1 \
              FROM placed, (SELECT id FROM items ORDER BY random() LIMIT 2) AS chosen",
        way: Way::Application,
    },
    Step {
        title: "A delivery fills the stock",
        sql: "UPDATE items SET stock = stock + 10 \
              WHERE id IN (SELECT id FROM items ORDER BY random() LIMIT 3)",
        way: Way::SecondConnection,
    },
    Step {
        title: "An order is sent",
        sql: "UPDATE orders SET status = 'sent' WHERE id = (SELECT max(id) FROM orders)",
        way: Way::Application,
    },
    Step {
        title: "A customer moves",
        sql: "UPDATE customers SET city = (ARRAY['Oslo', 'Porto', 'Turin'])[1 + id % 3] \
              WHERE id = (SELECT id FROM customers ORDER BY random() LIMIT 1)",
        way: Way::SecondConnection,
    },
    Step {
        title: "The oldest order is forgotten, with its lines",
        sql: "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)",
        way: Way::Application,
    },
];

/// The connections of those who change something.
pub(crate) struct Players {
    /// The application's.
    pub(crate) application: Client,
    /// Somebody else's.
    pub(crate) second: Client,
    /// For who presses buttons in a browser.
    pub(crate) visitor: Client,
}

impl Step {
    /// Lets it happen; returns when it is committed or rolled back.
    pub(crate) async fn happen(&self, players: &Players) -> Result<(), tokio_postgres::Error> {
        match self.way {
            Way::Application | Way::RolledBack => players.application.batch_execute(self.sql).await,
            Way::SecondConnection => players.second.batch_execute(self.sql).await,
            Way::Copy(rows) => {
                let sink = players.application.copy_in(self.sql).await?;
                let mut sink = std::pin::pin!(sink);
                sink.send(bytes::Bytes::from_static(rows.as_bytes())).await?;
                sink.finish().await.map(drop)
            }
        }
    }

    /// Whether clients are told of it.
    pub(crate) fn is_told(&self) -> bool {
        self.way != Way::RolledBack
    }
}
