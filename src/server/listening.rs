//! The listening socket.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted. The system may lower it. Clients beyond it retry after a second.
const BACKLOG: u32 = 4096;

/// Binds the address and listens. Port 0 takes any free port.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Allows a restart while connections of the previous process are in TIME_WAIT. Windows gives the option another meaning.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
