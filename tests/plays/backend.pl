#!/usr/bin/perl
# A backend on a library that knows nothing of this project: AnyEvent::XMPP::Component, used as
# its documentation shows.  Echoes messages; `perl backend.pl DOMAIN PORT SECRET`.
use strict;
use warnings;
use AnyEvent;
use AnyEvent::XMPP::Component;

my ($domain, $port, $secret) = @ARGV;
my $done = AnyEvent->condvar;
my $con = AnyEvent::XMPP::Component->new(
    domain => $domain, host => '127.0.0.1', port => $port, secret => $secret,
);
$con->reg_cb(
    session_ready => sub { $| = 1; print "ready\n" },
    message_xml   => sub {
        my ($con, $node) = @_;
        my ($body) = $node->find_all([qw/component body/]);
        return unless $body && ($node->attr('type') || '') ne 'error';
        $con->send_message(
            $node->attr('from'), 'chat', undef,
            from => $node->attr('to'), body => 'perl: ' . $body->text,
        );
    },
    error      => sub { print 'error: ', $_[1]->string, "\n"; $done->send },
    disconnect => sub { $done->send },
);
$con->connect;
$done->recv;
