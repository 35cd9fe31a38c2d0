// A small client of Rialto. See README.md, or run `go run . -help`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"rialto-example/userpb"
)

//go:generate ./generate

const help = `usage: rialto-example [--server HOST:PORT] COMMAND

  --server HOST:PORT    default: localhost:50051

  unary                 create, get, update and delete a user
  get ID                get one user
  list                  list all users
  bulk NAME...          create many users in one call
  chat --user NAME      send the lines of standard input to a room, print what arrives;
                        go on after a lost connection
    --room ROOM         default: lobby
    --history N         begin with the last N messages of the room
    --expect N          stay until N messages have arrived, also after the input's end
`

var errUsage = errors.New("usage")

func main() {
	err := run(context.Background(), os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(help)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%v\n\n%s", err, help)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, describe(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	flags := newFlags("rialto-example")
	server := flags.String("server", "localhost:50051", "")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("%w: no command given", errUsage)
	}
	command, operands := flags.Arg(0), flags.Args()[1:]

	connection, err := connect(*server)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := userpb.NewUserServiceClient(connection)

	switch command {
	case "unary":
		return unary(ctx, client)
	case "get":
		if len(operands) != 1 {
			return fmt.Errorf("%w: get needs one id", errUsage)
		}
		return get(ctx, client, operands[0])
	case "list":
		return list(ctx, client)
	case "bulk":
		if len(operands) == 0 {
			return fmt.Errorf("%w: bulk needs names", errUsage)
		}
		return bulk(ctx, client, operands)
	case "chat":
		flags := newFlags("chat")
		room := flags.String("room", "lobby", "")
		user := flags.String("user", "", "")
		history := flags.Uint("history", 0, "")
		expect := flags.Int("expect", 0, "")
		if err := parse(flags, operands); err != nil {
			return err
		}
		if *user == "" {
			return fmt.Errorf("%w: chat needs --user", errUsage)
		}
		return chat(ctx, client, *room, *user, uint32(*history), *expect)
	default:
		return fmt.Errorf("%w: unknown command %s", errUsage, command)
	}
}

// newFlags returns a set of flags that leaves it to main to print.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	return flags
}

func parse(flags *flag.FlagSet, arguments []string) error {
	err := flags.Parse(arguments)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return err
}
